"""Linear triangulation: the homogeneous least squares of DLT, and damped normal equations with gradients."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from refkp._checks import require_trailing
from refkp.geometry.cameras import project_with_matrix

#: Fewer views leave a whole ray of points.
MIN_VIEWS = 2


class LinearPoints(NamedTuple):
    """Points of a linear solution."""

    points: Tensor  # [...,3]
    valid: Tensor  # bool [...], at least two views


def triangulate_dlt(
    uv: Tensor, P: Tensor, mask: Tensor | None = None, *, normalise_rows: bool = True
) -> LinearPoints:
    """Linear triangulation: the X with |A X| smallest over |X| = 1, where every view gives two rows of A.

    The rows are u P_2 - P_0 and v P_2 - P_1; X is the right singular vector of the smallest singular value,
    dehomogenised.

    Args:
        uv: [...,V,2], float, pixels without distortion; NaN: not seen.
        P: [V,3,4], or with the leading axes of `uv`.
        mask: bool [...,V], False: not seen.
        normalise_rows: give every row length 1, so that no view counts more for the size of its pixels.

    Returns:
        LinearPoints(points [...,3], NaN where fewer than two views see it; valid [...]).

    Raises:
        ValueError: the last axes are not as above.

    Source: spec multiview i.

    >>> P = torch.eye(3, 4).repeat(2, 1, 1)
    >>> P[1, 0, 3] = -1.0
    >>> triangulate_dlt(torch.tensor([[0.0, 0.0], [-0.5, 0.0]]), P).points.round(decimals=4) + 0.0
    tensor([0., 0., 2.])
    """
    rows, seen = _rows("triangulate_dlt", uv, P, mask, normalise_rows)
    A = (rows * seen[..., None, None]).flatten(-3, -2)
    X = torch.linalg.svd(A.where(torch.isfinite(A), 0.0), full_matrices=A.shape[-2] < 4).Vh[..., -1, :]
    valid = seen.sum(-1) >= MIN_VIEWS
    return LinearPoints((X[..., :3] / X[..., 3:]).where(valid[..., None], torch.nan), valid)


def triangulate_differentiable(
    uv: Tensor,
    P: Tensor,
    weights: Tensor | None = None,
    *,
    damping: float = 1e-6,
    normalise_rows: bool = True,
) -> LinearPoints:
    """Linear triangulation with gradients to pixels, cameras and weights.

    With A = [M|m] as in `triangulate_dlt`, every row times the weight of its view: solves
    (M^T M + d I) X = -M^T m. Damping keeps the solution, and its gradient, finite for parallel rays.

    Args:
        uv: [...,V,2], float, pixels without distortion.
        P: [V,3,4], or with the leading axes of `uv`.
        weights: [...,V], at least 0; a view of weight 0 or with NaN is not seen. None: ones.
        damping: d; relative to the mean diagonal element of M^T M if rows are normalised, else as it is.
        normalise_rows: divide every row by the length of its part in M, so that neither the unit of pixels
            nor that of the world matters.

    Returns:
        LinearPoints(points [...,3], finite always; valid [...], at least two views).

    Raises:
        ValueError: the last axes are not as above.

    Source: spec multiview i.
    """
    if weights is None:
        weights = torch.ones_like(uv[..., 0])
    rows, seen = _rows("triangulate_differentiable", uv, P, weights > 0, False)
    if normalise_rows:
        rows = rows / rows[..., :3].norm(dim=-1, keepdim=True)
    A = (rows * weights.where(seen, 0.0)[..., None, None]).flatten(-3, -2)
    M, m = A[..., :3], A[..., 3:]
    normal = M.mT @ M
    scale = (
        normal.diagonal(dim1=-2, dim2=-1).mean(-1) if normalise_rows else normal.new_ones(normal.shape[:-2])
    )
    valid = seen.sum(-1) >= MIN_VIEWS
    added = (damping * scale).where(seen.any(-1), 1.0)[..., None, None] * torch.eye(3).to(normal)
    return LinearPoints(torch.linalg.solve(normal + added, -(M.mT @ m))[..., 0], valid)


def reprojection_error(points: Tensor, uv: Tensor, P: Tensor) -> Tensor:
    """Distance in pixels between what was seen and where P = K [R|t] draws the points.

    Args:
        points: [...,3].
        uv: [...,V,2] pixels without distortion.
        P: [V,3,4], or with the leading axes of `uv`.

    Returns:
        [...,V], of all views, those too that the points were not made from.
    """
    seen = project_with_matrix(points[..., None, None, :], P)
    return (seen.uv[..., 0, :] - uv).norm(dim=-1)


def _rows(
    function: str, uv: Tensor, P: Tensor, mask: Tensor | None, normalise: bool
) -> tuple[Tensor, Tensor]:
    """The rows [...,V,2,4] and which views are seen [...,V]; the rows of the others are of no use, but finite."""
    require_trailing(function, "uv", uv, "V,2")
    require_trailing(function, "P", P, f"{uv.shape[-2]},3,4")
    seen = torch.isfinite(uv).all(-1) & torch.isfinite(P).all(-1).all(-1)
    if mask is not None:
        require_trailing(function, "mask", mask, str(uv.shape[-2]))
        seen = seen & mask.bool()
    uv = uv.where(seen[..., None], 0.0)
    # A camera that is not there stands for the plainest one: its rows are masked, and their gradient is 0.
    P = P.where(seen[..., None, None], torch.eye(3, 4).to(P))
    rows = uv[..., None] * P[..., 2:, :] - P[..., :2, :]
    return (rows / rows.norm(dim=-1, keepdim=True) if normalise else rows), seen
