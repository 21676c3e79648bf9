"""Labels of a joint in one view that lie where the other views have another joint."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from refkp.systems.multiview.inspection.evidence import (
    MIN_POINTS,
    Evidence,
    disagreement,
    point_errors,
    triangulated,
)
from refkp.systems.multiview.inspection.findings import Finding

#: Labels are of another joint where that one's projection is nearer by this factor,
_OTHER_JOINT = 0.5
#: and two are exchanged if that is so in this share of the frames, and so many.
_MIN_SHARE, _MIN_FRAMES = 0.05, 3

#: A label is at another joint's projection if it is as near as this, in units of how well the other views agree, and
#: of a pixel at least: two views agree along their common rays on anything.
_NEAR = 5.0

#: So many pairs that are exchanged throughout are an order of the nodes.
_MANY_PAIRS = 7

#: How much larger than usual errors must be before they say anything of joints.
_UNUSUAL = 6.0


class _Exchanged(NamedTuple):
    """What was found in one view."""

    view: int
    weight: float  # how much is exchanged; one view's mistake shows a little in all others
    findings: list[Finding]


def exchanged_joints(
    evidence: Evidence,
    names: tuple[str, ...],
    joints: tuple[str, ...],
    views: Sequence[int],
    asked: Sequence[int] | None = None,
) -> list[Finding]:
    """Joints of some views that are others in the rest of the views, the worst view first, then without it."""
    left, findings = list(views), []
    while len(left) > 2:
        found = [
            _in_view(evidence, names, joints, left, view) for view in left if asked is None or view in asked
        ]
        worst = max(found, key=lambda entry: entry.weight, default=None)
        if worst is None or not worst.findings:
            break
        findings += worst.findings
        left.remove(worst.view)
    return findings


def _in_view(
    evidence: Evidence, names: tuple[str, ...], joints: tuple[str, ...], views: Sequence[int], view: int
) -> _Exchanged:
    """Compare the labels of a view with the points of the others."""
    labels = evidence.labels()
    others = [other for other in views if other != view]
    points = triangulated(evidence, others, labels)
    shape = (len(evidence.chosen), len(joints), 2)
    distance = torch.cdist(labels[:, view].reshape(shape), _projected(evidence, points, view).reshape(shape))
    moved = _moved(distance, _NEAR * max(1.0, disagreement(point_errors(evidence, others))))
    pairs = [(a, b) for a, b in moved.items() if a < b and moved.get(b) == a]
    if 2 * len(pairs) < len(moved) or len(pairs) >= _MANY_PAIRS:
        listed = ", ".join(f"{joints[a]} is {joints[b]}" for a, b in list(moved.items())[:4])
        finding = Finding(
            "nodes in another order",
            names[view],
            f"{listed} in the other views",
            "Put its nodes into their order.",
        )
        return _Exchanged(view, float(len(moved)), [finding])
    findings, weight = [], 0.0
    typical = _typical(distance, pairs)
    for a, b in pairs or itertools.combinations(range(len(joints)), 2):
        share, frames = _share_exchanged(distance, a, b, typical)
        if share >= _MIN_SHARE and frames >= _MIN_FRAMES:
            measured = f"{joints[a]} and {joints[b]} are exchanged in {share:.0%} of the frames"
            findings.append(
                Finding("joints exchanged", names[view], measured, "Correct the labels of this view.")
            )
            weight += share
    return _Exchanged(view, weight, findings)


def _typical(distance: Tensor, pairs: Sequence[tuple[int, int]]) -> float:
    """The median distance [f,J,J] of labels from where they belong, with pairs of joints put back."""
    order = list(range(distance.shape[1]))
    for a, b in pairs:
        order[a], order[b] = b, a
    return float(distance[:, range(len(order)), order].nanmedian())


def _projected(evidence: Evidence, points: Tensor, view: int) -> Tensor:
    """Where a view should see points, labelled there or not: [n,2]."""
    seen = evidence.rig.select([view]).project(points)
    return seen.uv[:, 0].where(seen.valid, torch.nan)


def _moved(distance: Tensor, near: float) -> dict[int, int]:
    """Of distances [f,J,J] from labels to projections: which joints are, in the median, another one.

    Empty unless they can be: no two are the same, and one whose place is taken is elsewhere itself.
    """
    medians = distance.nanmedian(0).values.nan_to_num(torch.inf)
    labelled = medians.isfinite().any(1).tolist()
    nearest = medians.argmin(1).tolist()
    moved = {
        a: b
        for a, b in enumerate(nearest)
        if a != b and float(medians[a, b]) < min(near, _OTHER_JOINT * float(medians[a, a]))
    }
    is_order = len(set(moved.values())) == len(moved)
    return moved if is_order and all(b in moved or not labelled[b] for b in moved.values()) else {}


def _share_exchanged(distance: Tensor, a: int, b: int, typical: float) -> tuple[float, int]:
    """In which share, and how many, of the frames with both joints they fit clearly better exchanged."""
    as_is = distance[:, a, a] + distance[:, b, b]
    exchanged = distance[:, a, b] + distance[:, b, a]
    both = torch.isfinite(as_is) & torch.isfinite(exchanged)
    if int(both.sum()) < MIN_POINTS // 4:
        return 0.0, 0
    better = both & (exchanged < _OTHER_JOINT * as_is) & (as_is > _UNUSUAL * typical)
    return float(better.sum() / both.sum()), int(better.sum())
