"""Triangulation of data: consensus of the views, refinement on the pixels as seen, covariance, and what is valid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from refkp._checks import fail, require_shape, require_trailing
from refkp.geometry.distortion import normalise as normalise_pixels
from refkp.geometry.distortion import undistort
from refkp.geometry.rig import Rig, folds, sight
from refkp.geometry.triangulation.consensus import Rays, best_pair, view_pairs
from refkp.geometry.triangulation.refinement import (
    Coordinates,
    Observations,
    normal_equations,
    refine,
)

#: Numbers held at once in the largest array: pairs of views x points.
CHUNK = 1 << 16
#: Cauchy's scale relative to the threshold: beyond a quarter of it a residual counts less and less.
SCALE_OF_THRESHOLD = 0.25


@dataclass(frozen=True)
class TriangulationSpec:
    """How views are made to agree.

    Args:
        threshold_px: a view that sees a point farther than this from where the others put it is an outlier.
        min_views: a point needs so many views that agree.
        min_share: and so large a share of those that see it. Two of six views agree by chance too often.
        iterations: of refinement, before and again after outliers are chosen anew.
        max_pairs: pairs of views that are tried; more than 12 views have more, of which so many are drawn.
        seed: of that draw.
        noise_px: standard deviation of a pixel coordinate of weight 1; None: estimated from all residuals.
    """

    threshold_px: float = 10.0
    min_views: int = 2
    min_share: float = 0.5
    iterations: int = 4
    max_pairs: int = 66
    seed: int = 0
    noise_px: float | None = None

    def __post_init__(self) -> None:
        if not self.threshold_px > 0:
            fail("TriangulationSpec", "threshold_px", "above 0", self.threshold_px)
        if self.min_views < 2:
            fail("TriangulationSpec", "min_views", "at least 2", self.min_views, "One view leaves a ray.")
        if not 0 <= self.min_share <= 1:
            fail("TriangulationSpec", "min_share", "from 0 to 1", self.min_share)
        if self.max_pairs < 1:
            fail("TriangulationSpec", "max_pairs", "at least 1", self.max_pairs)


class Triangulation(NamedTuple):
    """World points and how far they can be trusted, without a graph."""

    points: Tensor  # [...,3], NaN where not valid
    covariance: Tensor  # [...,3,3], the squared unit of the points; NaN where not valid
    inliers: Tensor  # bool [...,V]: seen, in front of the camera, and within the threshold
    residual_px: (
        Tensor  # [...,V], pixels as seen; NaN where a view does not see the point, or it is not valid
    )
    valid: Tensor  # bool [...]


class _Found(NamedTuple):
    """A chunk of n points before the noise is known."""

    points: Tensor  # [n,3]
    normal: Tensor  # [n,3,3]: covariance^-1 for a noise of one pixel
    inliers: Tensor  # bool [n,V]
    residual_px: Tensor  # [n,V]
    misfit: Tensor  # [n], sum of w r^2 over the inliers
    valid: Tensor  # bool [n]


@torch.no_grad()
def triangulate(
    uv: Tensor,
    rig: Rig,
    *,
    weights: Tensor | None = None,
    spec: TriangulationSpec = TriangulationSpec(),
) -> Triangulation:
    """Triangulate points from what the views of a rig see, some of it wrong or missing.

    Pixels are undistorted; every pair of views proposes the midpoint of its rays; the proposal that the views
    together agree with best is refined by Levenberg-Marquardt on the pixels as they were seen, under Cauchy's
    cost; views are judged again, and it is refined once more. The covariance is s^2 (sum w J^T J)^-1 over the
    inliers, with the noise s of one pixel coordinate estimated from all points together.

    A point takes nothing from other points but that noise. A view that sees nothing, whatever its camera and
    pixels hold, changes no bit. Computes in float64.

    Args:
        uv: [...,V,2], float, pixels as seen (with distortion); NaN: not seen.
        rig: V cameras.
        weights: [...,V], inverse variances relative to each other, e.g. scores; not above 0, or NaN: not seen.
        spec: thresholds.

    Returns:
        Triangulation, in the dtype of `uv`.

    Raises:
        ValueError: shapes do not fit.

    Source: spec multiview i.
    """
    rig.require("triangulate")
    num_views = len(rig.K)
    require_trailing("triangulate", "uv", uv, f"{num_views},2")
    leading = uv.shape[:-2]
    if weights is None:
        weights = torch.ones_like(uv[..., 0])
    require_shape("triangulate", "weights", weights, ",".join(map(str, uv.shape[:-1])))
    flat, factors = uv.reshape(-1, num_views, 2).double(), weights.reshape(-1, num_views).double()
    seen = torch.isfinite(flat).all(-1) & (factors > 0) & torch.isfinite(factors)
    views = seen.any(0).nonzero().squeeze(-1)
    found = _in_chunks(
        flat[:, views], factors[:, views], seen[:, views], rig.select(views).to(torch.float64), spec
    )
    noise = _noise(found) if spec.noise_px is None else flat.new_tensor(spec.noise_px)
    inliers = flat.new_zeros(len(flat), num_views, dtype=torch.bool)
    residual_px = torch.full_like(flat[..., 0], torch.nan)
    inliers[:, views], residual_px[:, views] = found.inliers, found.residual_px
    covariance = torch.full_like(found.normal, torch.nan)
    covariance[found.valid] = noise.square() * torch.linalg.inv(found.normal[found.valid])
    return Triangulation(
        found.points.to(uv.dtype).reshape(*leading, 3),
        covariance.to(uv.dtype).reshape(*leading, 3, 3),
        inliers.reshape(*leading, num_views),
        residual_px.to(uv.dtype).reshape(*leading, num_views),
        found.valid.reshape(leading),
    )


def _in_chunks(uv: Tensor, weights: Tensor, seen: Tensor, rig: Rig, spec: TriangulationSpec) -> _Found:
    pairs = view_pairs(len(rig.K), spec.max_pairs, spec.seed)
    size = max(1, CHUNK // max(1, len(pairs)))
    chunks = [
        _chunk(
            uv[start : start + size],
            weights[start : start + size],
            seen[start : start + size],
            rig,
            pairs,
            spec,
        )
        for start in range(0, len(uv), size)
    ]
    if not chunks:
        return _nothing(uv, seen)
    return _Found(*(torch.cat(parts) for parts in zip(*chunks, strict=True)))


def _chunk(
    uv: Tensor, weights: Tensor, seen: Tensor, rig: Rig, pairs: Tensor, spec: TriangulationSpec
) -> _Found:
    """Points [n] of V views, all of them seen by some point."""
    if len(pairs) == 0:
        return _nothing(uv, seen)
    u, v = uv.permute(2, 1, 0).contiguous().unbind(0)
    observed = Observations(u, v, weights.mT.contiguous(), seen.mT.contiguous())
    rays = rays_of(uv, observed, rig)
    start, cost = best_pair(rays, observed.weights, rig, pairs, spec.threshold_px)
    at, inliers = _settle(rig, observed, start, spec)
    lost = torch.isinf(cost) & (rays.seen.sum(0) >= 2)
    if bool(lost.any()) and len(pairs) < len(rig.K) * (len(rig.K) - 1) // 2:
        # None of the drawn pairs sees these: they get all pairs.
        index = lost.nonzero().squeeze(-1)
        every = view_pairs(len(rig.K), len(rig.K) ** 2, spec.seed)
        again = _chunk(uv[index], weights[index], seen[index], rig, every, spec)
        found = _judge(rig, observed, at, inliers, spec)
        return _Found(*(whole.index_copy(0, index, part) for whole, part in zip(found, again, strict=True)))
    return _judge(rig, observed, at, inliers, spec)


def rays_of(uv: Tensor, observed: Observations, rig: Rig) -> Rays:
    """The rays of pixels uv [n,V,2]; a pixel that no ray of the lens meets is not seen."""
    normalised = normalise_pixels(uv.movedim(1, 0), rig.K)
    a, b = undistort(normalised, rig.distortion[:, None]).points.unbind(-1)
    seen = observed.used & torch.isfinite(a)
    length = (a * a + b * b + 1).sqrt()
    x, y, z = (
        (r0[:, None] * a + r1[:, None] * b + r2[:, None]) / length
        for r0, r1, r2 in (column.unbind(-1) for column in rig.R.unbind(-1))
    )
    return Rays(a, b, (x, y, z), _pixel_by_ab(rig, a, b), seen)


def _pixel_by_ab(rig: Rig, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Derivative of pixels by the normalised point: that by the camera point at depth 1."""
    axis = Rig(rig.K, rig.distortion, torch.eye(3).to(rig.R).expand_as(rig.R), torch.zeros_like(rig.t))
    at = sight(axis, a, b, torch.ones_like(a))
    return at.u_by_camera[0], at.u_by_camera[1], at.v_by_camera[0], at.v_by_camera[1]


def _settle(
    rig: Rig, observed: Observations, start: Coordinates, spec: TriangulationSpec
) -> tuple[Coordinates, Tensor]:
    """Refined coordinates and the inliers [V,n] at them."""
    at, scale = start, SCALE_OF_THRESHOLD * spec.threshold_px
    for _ in range(2):
        residual, in_front = _residuals(rig, observed, at)
        inliers = observed.used & in_front & (residual < spec.threshold_px)
        at = refine(rig, observed._replace(used=inliers), at, scale, spec.iterations)
    residual, in_front = _residuals(rig, observed, at)
    return at, observed.used & in_front & (residual < spec.threshold_px)


def _residuals(rig: Rig, observed: Observations, at: Coordinates) -> tuple[Tensor, Tensor]:
    """Distances in pixels [V,n], and whether the point is in front of the camera."""
    view = sight(rig, *at)
    squared = (view.u - observed.u).square() + (view.v - observed.v).square()
    return squared.sqrt(), view.in_front(folds(rig))


def _judge(
    rig: Rig, observed: Observations, at: Coordinates, inliers: Tensor, spec: TriangulationSpec
) -> _Found:
    residual = _residuals(rig, observed, at)[0]
    # Nearly no robustness is left among inliers: the plain normal matrix tells the covariance.
    plain = normal_equations(rig, observed._replace(used=inliers), at, 1e6 * spec.threshold_px, folds(rig))
    normal = plain.matrix()
    agree, num_seen = inliers.sum(0), observed.used.sum(0)
    enough = (agree >= spec.min_views) & (agree >= spec.min_share * num_seen)
    definite = torch.linalg.cholesky_ex(normal.nan_to_num()).info == 0
    points = torch.stack(at, dim=-1)
    valid = enough & definite & torch.isfinite(points).all(-1)
    misfit = (observed.weights * residual.square()).where(inliers, 0.0).sum(0)
    kept = residual.where(observed.used & valid, torch.nan)
    return _Found(
        points.where(valid[:, None], torch.nan), normal, (inliers & valid).mT, kept.mT, misfit, valid
    )


def _noise(found: _Found) -> Tensor:
    """Standard deviation of a pixel coordinate: the median over points of what their residuals say.

    A misfit over s^2 is chi-squared with 2 V - 3 degrees of freedom d, whose median is about d (1 - 2/(9d))^3.
    """
    freedom = 2.0 * found.inliers.sum(-1)[found.valid] - 3
    if len(freedom) == 0:
        return found.misfit.new_tensor(torch.nan)
    variance = found.misfit[found.valid] / (freedom * (1 - 2 / (9 * freedom)) ** 3)
    return variance.median().sqrt()


def _nothing(uv: Tensor, seen: Tensor) -> _Found:
    """No point is found: fewer than two views see anything, or there are no points."""
    num_points = len(uv)
    lost = uv.new_full((num_points, 3), torch.nan)
    return _Found(
        lost,
        uv.new_full((num_points, 3, 3), torch.nan),
        torch.zeros_like(seen),
        torch.full_like(uv[..., 0], torch.nan),
        lost[:, 0],
        seen.new_zeros(num_points),
    )
