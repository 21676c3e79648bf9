"""MSSD and MSPD: the largest distance of a surface point from where it should be, in space and in the image."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from refkp._checks import require_shape
from refkp.geometry.cameras import project

#: Points times poses times symmetries that are held at once, 6 MB in float64: it stays in the caches.
_POINTS_AT_ONCE = 2**18


def mssd(estimate: Tensor, truth: Tensor, points: Tensor, symmetries: Tensor) -> Tensor:
    """Maximum symmetry-aware surface distance.

    min over S of max over x of |T_e x - T_g S x|.

    Args:
        estimate, truth: cam_from_obj [n,4,4] float.
        points: [V,3] surface points of the object, the vertices say, in the unit of the poses.
        symmetries: [m,4,4] of `symmetry_transforms`.

    Returns:
        [n] of the dtype of the poses, in their unit.

    Raises:
        ValueError: a shape.

    Source: spec pose 6.5.
    """
    _check("mssd", estimate, truth, points, symmetries)

    def farthest(rows: slice, chunk: Tensor) -> Tensor:
        # The difference of two rigid motions is one affine map: half the work, and exact at equal poses.
        difference = estimate[rows, None] - truth[rows, None] @ chunk
        moved = points @ difference[..., :3, :3].mT + difference[..., None, :3, 3]
        return torch.linalg.vector_norm(moved, dim=-1).amax(-1)

    return _smallest(farthest, len(estimate), len(points), symmetries.to(estimate))


def mspd(estimate: Tensor, truth: Tensor, K: Tensor, points: Tensor, symmetries: Tensor) -> Tensor:
    """Maximum symmetry-aware projection distance.

    min over S of max over x of |proj(T_e x) - proj(T_g S x)|.

    Args:
        estimate, truth: cam_from_obj [n,4,4] float.
        K: [3,3] or [n,3,3] pixels of the image that errors are counted in (the whole image, not a crop).
        points: [V,3] surface points of the object.
        symmetries: [m,4,4] of `symmetry_transforms`.

    Returns:
        [n] pixels; infinite where a point is not in front of the camera, since such a pose shows no object.

    Raises:
        ValueError: a shape.

    Source: spec pose 6.5.
    """
    _check("mspd", estimate, truth, points, symmetries)
    K = K.expand(len(estimate), 3, 3)

    def farthest(rows: slice, chunk: Tensor) -> Tensor:
        shown = _pixels(points, K[rows], estimate[rows])[:, None]
        wanted = _pixels(points, K[rows, None], truth[rows, None] @ chunk)
        distance = torch.linalg.vector_norm(shown - wanted, dim=-1).amax(-1)
        return torch.where(distance.isnan(), torch.inf, distance)

    return _smallest(farthest, len(estimate), len(points), symmetries.to(estimate))


def _smallest(
    farthest: Callable[[slice, Tensor], Tensor], num_poses: int, num_points: int, symmetries: Tensor
) -> Tensor:
    """[n]: the least of farthest(poses, symmetries) [p,q] over all symmetries, in blocks of bounded memory."""
    at_once = min(max(_POINTS_AT_ONCE // max(num_points, 1), 1), len(symmetries))
    poses_at_once = max(_POINTS_AT_ONCE // max(num_points * at_once, 1), 1)
    least = []
    for start in range(0, num_poses, poses_at_once):
        rows = slice(start, min(start + poses_at_once, num_poses))
        blocks = [farthest(rows, chunk).amin(1) for chunk in symmetries.split(at_once)]
        least.append(torch.stack(blocks).amin(0))
    return torch.cat(least) if least else symmetries.new_zeros(0)


def _pixels(points: Tensor, K: Tensor, cam_from_obj: Tensor) -> Tensor:
    """[...,V,2], infinite where a point is not in front."""
    uv, depth = project(points, K, cam_from_obj[..., :3, :3], cam_from_obj[..., :3, 3])
    return torch.where((depth > 0)[..., None], uv, torch.inf)


def _check(function: str, estimate: Tensor, truth: Tensor, points: Tensor, symmetries: Tensor) -> None:
    require_shape(function, "estimate", estimate, "n,4,4")
    require_shape(function, "truth", truth, "n,4,4", n=len(estimate))
    require_shape(function, "points", points, "V,3")
    require_shape(function, "symmetries", symmetries, "m,4,4")
