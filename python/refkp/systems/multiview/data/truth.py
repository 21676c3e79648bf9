"""Whether the truth of a file belongs together: its points, seen through its cameras, against its labels.

A swapped camera, another unit or a wrong crop shows here before a step is trained on it. Source: spec multiview h.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from refkp._checks import fail
from refkp.geometry.cameras import project
from refkp.systems.multiview.data.dataset import MultiviewDataset

_NUM_SAMPLES = 200
#: Medians above these parts of the side of the picture are told, and refused.
_SUSPICIOUS, _WRONG = 0.02, 0.1


class ViewTruth(NamedTuple):
    """How far the points of a file are from the labels of one of its cameras, in pixels of the stored picture."""

    camera: str
    num_points: int
    median_px: float


def truth_through_cameras(dataset: MultiviewDataset) -> list[ViewTruth]:
    """The median distance in each view that has points, labels and a camera, over evenly spaced samples.

    A point that is not in front of its camera counts as infinitely far.
    """
    errors: dict[int, list[torch.Tensor]] = {}
    places = torch.linspace(0, len(dataset) - 1, min(len(dataset), _NUM_SAMPLES)).long()
    for place in places.tolist():
        sample = dataset.described(place)
        if sample.K is None or sample.R is None or sample.t is None or sample.points is None:
            continue
        uv, depth = project(sample.points, sample.K, sample.R, sample.t)
        distance = torch.linalg.vector_norm(uv - sample.keypoints, dim=-1)
        in_front = torch.where(depth > 0, distance, torch.inf)
        of_views = torch.where(torch.isfinite(distance), in_front, torch.nan)
        for view, of_view in zip(sample.camera_indices.tolist(), of_views, strict=True):
            errors.setdefault(view, []).append(of_view)
    names = dataset.store.info.camera_names
    rows = []
    for view in sorted(errors):
        together = torch.cat(errors[view])
        found = together[~together.isnan()]
        if len(found):
            rows.append(
                ViewTruth(names[view], len(found), float(found.quantile(0.5, interpolation="higher")))
            )
    return rows


def check_truth(rows: list[ViewTruth], size: int) -> str:
    """What was found in a line; a view that stands out is named.

    Raises:
        ValueError: the median of a view is above a tenth of the side `size` of the picture.
    """
    if not rows:
        return "The file has no points with cameras: nothing tells whether they belong together."
    wrong = [row for row in rows if row.median_px > _WRONG * size]
    if wrong:
        got = ", ".join(f"{row.camera} {row.median_px:.1f} px" for row in wrong)
        rule = f"of points that its cameras show where they are labelled, within {_WRONG * size:.0f} px of {size}"
        remedy = "`refkp multiview inspect SESSION` says which camera, unit or label is wrong."
        fail("MultiviewData", "source", rule, got, remedy)
    line = ", ".join(f"{row.camera} {row.median_px:.2f}" for row in rows)
    far = [row.camera for row in rows if row.median_px > _SUSPICIOUS * size]
    doubt = f" Far off: {', '.join(far)}; `refkp multiview inspect SESSION` looks into it." if far else ""
    return f"Points through their cameras against labels, median px of {size}: {line}.{doubt}"
