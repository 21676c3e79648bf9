"""What may be wrong with a view or with all: each a changed belief about its labels or its camera.

A belief is right when the views agree under it as they did not before.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from refkp.geometry.rig import Rig
from refkp.systems.multiview.inspection.evidence import MIN_POINTS, Evidence, residuals, triangulated

#: How many frames a stream may be off.
MAX_LATE = 3

_UNITS = (10.0, 100.0, 1000.0)
_SMALLEST_SHIFT_PX = 2.0


class Belief(NamedTuple):
    """What would be wrong, and the evidence as it is without."""

    kind: str
    where: str
    measured: str
    remedy: str
    evidence: Evidence


def beliefs(evidence: Evidence, names: tuple[str, ...], views: list[int]) -> Iterator[Belief]:
    """All that is tried: of each of the views, of two together, of all together."""
    for view in views:
        yield from _times(evidence, view, names)
        yield from _mirrors(evidence, view, names)
        yield from _cameras(evidence, [view], names[view])
        if len(views) > 2:
            yield from _shifts(evidence, view, [other for other in views if other != view], names)
    for a, b in itertools.combinations(views, 2):
        order = list(range(evidence.num_views))
        order[a], order[b] = b, a
        changed = evidence._replace(rig=evidence.rig.select(order))
        where = f"{names[a]} and {names[b]}"
        yield Belief("cameras swapped", where, "each fits the other's labels", "Swap their names.", changed)
    yield from _cameras(evidence, views, "all views")


def _times(evidence: Evidence, view: int, names: tuple[str, ...]) -> Iterator[Belief]:
    for frames in (number for number in range(-MAX_LATE, MAX_LATE + 1) if number):
        late = tuple(value + frames * (index == view) for index, value in enumerate(evidence.late))
        shown = late[view]
        if not shown:
            continue
        word = "late" if shown > 0 else "early"
        measured = f"{abs(shown)} frame{'s' * (abs(shown) > 1)} {word} against the other views"
        remedy = "Cut the video and its labels so that all begin at the same instant."
        yield Belief("stream out of step", names[view], measured, remedy, evidence._replace(late=late))


def _mirrors(evidence: Evidence, view: int, names: tuple[str, ...]) -> Iterator[Belief]:
    for axis, word in ((0, "left and right"), (1, "top and bottom")):
        xy = evidence.xy.clone()
        xy[:, view, :, axis] = evidence.sizes[view, axis] - xy[:, view, :, axis]
        remedy = "Mirror the video and its labels back, or calibrate with the mirror."
        yield Belief("mirrored view", names[view], f"{word} are exchanged", remedy, evidence._replace(xy=xy))


def _cameras(evidence: Evidence, views: list[int], where: str) -> Iterator[Belief]:
    """Other parameters of the cameras of some views."""
    for kind, measured, remedy, change in _CHANGES:
        parts = [part.clone() for part in evidence.rig]
        for view in views:
            K, distortion, R, t = change(*(part[view] for part in evidence.rig))
            for part, value in zip(parts, (K, distortion, R, t), strict=True):
                part[view] = value
        yield Belief(kind, where, measured, remedy, evidence._replace(rig=Rig(*parts)))


def _scaled_image(factor: float) -> Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, ...]]:
    return lambda K, d, R, t: (torch.cat((K[:2] * factor, K[2:])), d, R, t)


def _scaled_unit(factor: float) -> Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, ...]]:
    return lambda K, d, R, t: (K, d, R, t * factor)


_CHANGES: tuple[tuple[str, str, str, Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, ...]]], ...] = (
    (
        *(
            "wrong distortion sign",
            "its coefficients fit with the other sign",
            "Change the sign of the distortion.",
        ),
        lambda K, d, R, t: (K, -d, R, t),
    ),
    (
        *(
            "labels without distortion",
            "they fit a camera without it",
            "Set the distortion of those cameras to 0.",
        ),
        lambda K, d, R, t: (K, torch.zeros_like(d), R, t),
    ),
    (
        *("inverted camera", "R and t fit as the pose of the camera", "Write R^T and -R^T t into the file."),
        lambda K, d, R, t: (K, d, R.mT, -(R.mT @ t)),
    ),
    *(
        (
            "K of another size",
            f"K fits pictures {factor:g} times as large",
            "Scale K to the size of the video.",
            _scaled_image(factor),
        )
        for factor in (0.5, 2.0)
    ),
    *(
        (
            "wrong unit",
            f"its translation fits when multiplied by {factor:g}",
            "Write all cameras in one unit.",
            _scaled_unit(factor),
        )
        for factor in (*_UNITS, *(1 / unit for unit in _UNITS))
    ),
)


def _shifts(evidence: Evidence, view: int, others: list[int], names: tuple[str, ...]) -> Iterator[Belief]:
    """All labels of a view moved by what they are off, against the points of the others."""
    off = residuals(evidence, triangulated(evidence, others), [view])[:, 0]
    off = off[torch.isfinite(off).all(-1)]
    if len(off) < MIN_POINTS:
        return
    shift = off.median(0).values
    if float(shift.norm()) < _SMALLEST_SHIFT_PX:
        return
    xy = evidence.xy.clone()
    xy[:, view] -= shift
    measured = f"its labels are off by ({shift[0]:.1f}, {shift[1]:.1f}) px, all alike"
    remedy = "See whether the picture was cropped or the camera was moved, and calibrate it again."
    yield Belief("shifted camera", names[view], measured, remedy, evidence._replace(xy=xy))
