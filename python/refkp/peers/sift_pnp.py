"""Poses from SIFT matches with rendered templates and RANSAC over EPnP, by OpenCV: no training, but texture."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from refkp._extras import named_extras
from refkp.systems.pose.inference.failure import EstimateFailure
from refkp.systems.pose.inference.lifting import lift
from refkp.systems.pose.inference.matches import Matches
from refkp.systems.pose.inference.ransac import PnPPose, ransac_pnp
from refkp.systems.pose.inference.scoring import Correspondences, best_hypothesis
from refkp.systems.pose.inference.spec import RansacSpec
from refkp.systems.pose.views import Views


class Keypoints(NamedTuple):
    """SIFT keypoints of one view."""

    uv: Tensor  # float64 [n,2], pixels, centres at +0.5
    descriptors: Any  # float32 [n,128] numpy


def sift_keypoints(views: Views) -> list[Keypoints]:
    """Of each of [S] views, inside their masks."""
    with named_extras():
        import cv2
    detector = cv2.SIFT_create()  # type: ignore[attr-defined]
    found = []
    for image, mask in zip(views.images, views.masks, strict=True):
        grey = cv2.cvtColor((255 * image.permute(1, 2, 0)).byte().numpy(), cv2.COLOR_RGB2GRAY)
        points, descriptors = detector.detectAndCompute(grey, 255 * mask.byte().numpy())
        uv = torch.tensor([point.pt for point in points], dtype=torch.float64).reshape(-1, 2) + 0.5
        empty = np.zeros((0, 128), np.float32)
        found.append(Keypoints(uv, empty if descriptors is None else descriptors))
    return found


def sift_pose(
    query: Views,
    templates: Views,
    keypoints: Sequence[Keypoints],
    spec: RansacSpec = RansacSpec(),  # noqa: B008 (frozen)
    *,
    ratio: float = 0.8,
    num_templates: int = 8,
) -> PnPPose | EstimateFailure:
    """The pose that agrees best with the SIFT matches of the templates that have most of them.

    Args:
        query: one view.
        templates: [S] views with depth.
        keypoints: of `templates`, from `sift_keypoints`.
        spec: of RANSAC.
        ratio: a match counts if the second best descriptor is so much farther (Lowe's test).
        num_templates: those with most matches are used.

    Source: Lowe, "Distinctive image features from scale-invariant keypoints", IJCV 2004.
    """
    [own] = sift_keypoints(Views(*(part[None] for part in query)))
    pairs = [_matched(own, other, ratio) for other in keypoints]
    best = sorted(range(len(pairs)), key=lambda index: -len(pairs[index][0]))[:num_templates]
    query_uv = torch.cat([own.uv[pairs[index][0]] for index in best])
    template_uv = torch.cat([keypoints[index].uv[pairs[index][1]] for index in best])
    template = torch.cat([torch.full((len(pairs[index][0]),), index) for index in best])
    points = lift(template_uv, template, templates.depth, templates.K, templates.cam_from_obj)
    one = torch.ones(len(template))
    matches = Matches(template, query_uv.float(), template_uv.float(), one, one, torch.zeros_like(template))
    found = Correspondences(matches, points.points).select(points.valid)
    hypothesis = best_hypothesis(
        found, best, partial(_solved, query=query, spec=spec), query.K, spec.threshold_px
    )
    return hypothesis if isinstance(hypothesis, EstimateFailure) else hypothesis.pose


def _solved(found: Correspondences, query: Views, spec: RansacSpec) -> PnPPose | EstimateFailure:
    return ransac_pnp(found.points, found.matches.query_uv, query.K, spec)


def _matched(own: Keypoints, other: Keypoints, ratio: float) -> tuple[list[int], list[int]]:
    """Indices of keypoints of both sides that match."""
    with named_extras():
        import cv2
    if len(own.uv) == 0 or len(other.uv) < 2:
        return [], []
    found = cv2.BFMatcher().knnMatch(own.descriptors, other.descriptors, k=2)
    good = [first for first, second in found if first.distance < ratio * second.distance]
    return [match.queryIdx for match in good], [match.trainIdx for match in good]
