"""Triangulation as a laboratory writes it with OpenCV: one point after the other, RANSAC over pairs of views."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from refkp._extras import named_extras
from refkp.geometry.rig import Rig


def opencv_ransac(uv: Tensor, rig: Rig, threshold_px: float = 10.0, min_share: float = 0.5) -> Tensor:
    """Points [N,3] of uv [N,V,2]: undistortPoints, triangulatePoints of every pair, DLT of the largest consensus.

    NaN where fewer than two views, or less than `min_share` of those that see a point, agree.
    """
    ideal = _undistorted(uv, rig)
    P = rig.projection_matrices().double().numpy()
    points = np.full((len(uv), 3), np.nan)
    for index, seen in enumerate(ideal):
        views = np.flatnonzero(np.isfinite(seen).all(-1))
        inliers = _consensus(seen, views, P, threshold_px)
        if len(inliers) >= max(2, min_share * len(views)):
            points[index] = _dlt(seen[inliers], P[inliers])
    return torch.from_numpy(points)


def _undistorted(uv: Tensor, rig: Rig) -> Any:
    """Pixels without distortion, float64 [N,V,2]."""
    with named_extras():
        import cv2
    views = [
        cv2.undistortPoints(uv[:, view].double().numpy().reshape(-1, 1, 2), K, distortion, P=K)[:, 0]
        for view, (K, distortion) in enumerate(zip(rig.K.numpy(), rig.distortion.numpy(), strict=True))
    ]
    return np.stack(views, axis=1)


def _consensus(seen: Any, views: Any, P: Any, threshold_px: float) -> Any:
    """The views that agree with the pair that most agree with."""
    with named_extras():
        import cv2
    best = np.zeros(0, dtype=int)
    for first, second in itertools.combinations(views, 2):
        point = cv2.triangulatePoints(P[first], P[second], seen[first], seen[second])[:, 0]
        agree = views[_errors(point, seen[views], P[views]) < threshold_px]
        if len(agree) > len(best):
            best = agree
    return best


def _errors(point: Any, seen: Any, P: Any) -> Any:
    drawn = P @ point
    return np.linalg.norm(drawn[:, :2] / drawn[:, 2:] - seen, axis=-1)


def _dlt(seen: Any, P: Any) -> Any:
    rows = (seen[:, :, None] * P[:, 2:] - P[:, :2]).reshape(-1, 4)
    point = np.linalg.svd(rows)[2][-1]
    return point[:3] / point[3]
