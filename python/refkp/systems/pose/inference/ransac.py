"""One pose from matches with outliers: RANSAC over EPnP, then least squares on the inliers. Source: spec pose 6.3."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from refkp._checks import fail, require_finite, require_shape
from refkp._extras import named_extras
from refkp.geometry.cameras import project
from refkp.systems.pose.inference.failure import EstimateFailure, no_consensus
from refkp.systems.pose.inference.spec import MIN_MATCHES, RansacSpec

#: Smallest of the three extents of the points over the largest, below which they count as a plane. EPnP goes
#: wrong from about 1e-3 on (only at exactly 0 it does not); the solvers for planes are as good up to 0.1.
_PLANAR = 0.02
_LINEAR = 1e-6  # the same for the second extent


class PnPPose(NamedTuple):
    """A pose with the matches that support it."""

    cam_from_obj: Tensor  # float64 [4,4], in the unit of the points
    inliers: Tensor  # bool [m]
    error_px: Tensor  # float64 [m], reprojection error; infinite for a point not in front of the camera

    @property
    def num_inliers(self) -> int:
        """How many matches agree with the pose."""
        return int(self.inliers.sum())


class _Arrays(NamedTuple):
    points: Any  # float64 [m,3] numpy
    uv: Any  # float64 [m,2]
    K: Any  # float64 [3,3]


def ransac_pnp(
    points: Tensor,
    uv: Tensor,
    K: Tensor,
    spec: RansacSpec = RansacSpec(),  # noqa: B008 (frozen)
) -> PnPPose | EstimateFailure:
    """The pose that most matches agree with, by OpenCV.

    EPnP on random samples of five, judged by at most `max_points` matches; EPnP on all inliers of the best;
    Levenberg-Marquardt on them; inliers counted again under the final pose. Points in a plane, where EPnP is not
    defined, are sampled by P3P and solved by SQPnP. The order of the matches is shuffled by the seed, so a call is
    repeatable.

    Args:
        points: [m,3] float, points of the object, in any unit.
        uv: [m,2] float, where the camera sees them, pixels.
        K: [3,3] float, pixels, without skew.
        spec: threshold, number of samples, seed.

    Returns:
        PnPPose; or EstimateFailure where fewer than four matches are given, where the points lie on a line, or
        where fewer than `min_inliers` matches agree with the best pose (while others do not).

    Raises:
        ValueError: wrong shapes, values that are not finite, or a K with skew.
        ImportError: OpenCV is not installed.

    Source: spec pose 6.3.
    """
    _check(points, uv, K)
    count = len(points)
    if count < MIN_MATCHES:
        text = f"{count} matches have a 3D point; a pose needs at least {MIN_MATCHES}."
        return EstimateFailure("too_few_matches", text)
    second, third = _relative_extents(points.double())
    if second < _LINEAR:
        return EstimateFailure("degenerate", f"the 3D points of all {count} matches lie on one line.")
    arrays = _Arrays(*(np.ascontiguousarray(value.double().cpu().numpy()) for value in (points, uv, K)))
    pose = _solve(arrays, planar=third < _PLANAR, spec=spec)
    if pose is None:
        return no_consensus(0, count)
    found = judge_pose(torch.from_numpy(pose), points.cpu(), uv.cpu(), K.cpu(), spec.threshold_px)
    needed = min(spec.min_inliers, count)
    return found if found.num_inliers >= needed else no_consensus(found.num_inliers, count)


def judge_pose(cam_from_obj: Tensor, points: Tensor, uv: Tensor, K: Tensor, threshold_px: float) -> PnPPose:
    """The reprojection errors and inliers of a pose; arguments as in `ransac_pnp`, `cam_from_obj` [4,4]."""
    pose = cam_from_obj.double()
    projected, depth = project(points.double(), K.double(), pose[:3, :3], pose[:3, 3])
    error = torch.linalg.vector_norm(projected - uv.double(), dim=-1)
    error = torch.where((depth > 0) & error.isfinite(), error, torch.inf)
    return PnPPose(pose, error <= threshold_px, error)


def _check(points: Tensor, uv: Tensor, K: Tensor) -> None:
    require_shape("ransac_pnp", "points", points, "m,3")
    require_shape("ransac_pnp", "uv", uv, "m,2", m=len(points))
    require_shape("ransac_pnp", "K", K, "3,3")
    for name, tensor in (("points", points), ("uv", uv), ("K", K)):
        require_finite("ransac_pnp", name, tensor)
    if bool(K[0, 1] != 0):
        fail("ransac_pnp", "K", "without skew, which OpenCV ignores", float(K[0, 1]))


def _relative_extents(points: Tensor) -> tuple[float, float]:
    """The second and third singular value of the centred points over the first."""
    first, second, third = torch.linalg.svdvals(points - points.mean(0)).tolist()
    return (second / first, third / first) if first > 0 else (0.0, 0.0)


def _solve(arrays: _Arrays, *, planar: bool, spec: RansacSpec) -> Any:
    """numpy [4,4], or None where OpenCV finds no pose or refuses the matches."""
    with named_extras():
        import cv2
    try:
        return _opencv_pose(arrays, planar=planar, spec=spec)
    except cv2.error:  # SQPnP, of image points that hardly differ: they fix no pose
        return None


def _opencv_pose(arrays: _Arrays, *, planar: bool, spec: RansacSpec) -> Any:
    with named_extras():
        import cv2
    order = np.random.default_rng(spec.seed).permutation(len(arrays.points))[: spec.max_points]
    # About their mean: OpenCV's refinement is lost where the frame's origin is far from the object.
    centre = arrays.points.mean(0)
    points, uv = arrays.points - centre, arrays.uv
    found, rotation, translation, inliers = cv2.solvePnPRansac(
        points[order],
        uv[order],
        arrays.K,
        None,
        iterationsCount=spec.iterations,
        reprojectionError=spec.threshold_px,
        confidence=spec.confidence,
        flags=cv2.SOLVEPNP_P3P if planar else cv2.SOLVEPNP_EPNP,
    )
    if not found or inliers is None or len(inliers) < MIN_MATCHES:
        return None
    if len(order) < len(points):
        best, x, u, K = map(torch.from_numpy, (_pose(rotation, translation), points, uv, arrays.K))
        agree = judge_pose(best, x, u, K, spec.threshold_px).inliers.numpy()
    else:
        agree = order[inliers[:, 0]]
    points, uv = points[agree], uv[agree]
    method = cv2.SOLVEPNP_SQPNP if planar else cv2.SOLVEPNP_EPNP
    found, rotation, translation = cv2.solvePnP(points, uv, arrays.K, None, flags=method)
    if not found:
        return None
    rotation, translation = cv2.solvePnPRefineLM(points, uv, arrays.K, None, rotation, translation)
    pose = _pose(rotation, translation)
    pose[:3, 3] -= pose[:3, :3] @ centre
    return pose if np.isfinite(pose).all() else None


def _pose(rotation: Any, translation: Any) -> Any:
    """numpy [4,4] of OpenCV's vectors [3,1]."""
    with named_extras():
        import cv2
    pose = np.eye(4)
    pose[:3, :3] = cv2.Rodrigues(rotation)[0]
    pose[:3, 3] = translation[:, 0]
    return pose
