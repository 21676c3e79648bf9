"""Lens distortion after Brown and Conrady, with OpenCV's five coefficients (k1, k2, p1, p2, k3).

Points are normalised: x_cam/z, y_cam/z before the lens, K^-1 (u, v, 1) after it. With r^2 = a^2 + b^2 and
radial = 1 + k1 r^2 + k2 r^4 + k3 r^6,

    a' = a radial + 2 p1 a b + p2 (r^2 + 2 a^2)
    b' = b radial + p1 (r^2 + 2 b^2) + 2 p2 a b

The model is one to one only near the axis: at `fold_radius` it turns back, and what lies beyond would be
drawn over the picture a second time. Every function says which points are on the right side.

Functions take float32 or float64 and any leading axes, and pass gradients to points and coefficients.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from refkp._checks import require_trailing
from refkp.geometry.cameras import project

#: Most lenses are solved in so many steps of Newton from the distorted point; the few others start closer.
FIRST_STEPS, MORE_STEPS = 6, 20
#: Halvings that find a radius to rounding: float64 has 53 bits.
HALVINGS = 60
#: A residual below this many roundings of float64 is none.
SOLVED_ROUNDINGS = 64


class LensPoints(NamedTuple):
    """Points on the other side of the lens."""

    points: Tensor  # [...,2]
    valid: Tensor  # bool [...], false beyond the fold of the model


class DistortedProjection(NamedTuple):
    """Points seen by a camera with distortion."""

    uv: Tensor  # [...,N,2] pixels
    depth: Tensor  # [...,N] along the optical axis
    valid: Tensor  # bool [...,N], in front of the camera and before the fold of its lens


def distort(points: Tensor, distortion: Tensor) -> LensPoints:
    """Send normalised points through the lens.

    Args:
        points: [...,2], float, normalised.
        distortion: [...,5], (k1, k2, p1, p2, k3); leading axes broadcast.

    Returns:
        LensPoints(points [...,2], valid [...]): where `valid` is false the value is the polynomial's, which
        no longer grows with the distance from the axis.

    Raises:
        ValueError: the last axes are not as above.

    Source: spec multiview d.

    >>> distort(torch.tensor([0.5, 0.0]), torch.tensor([-0.2, 0.0, 0.0, 0.0, 0.0])).points
    tensor([0.4750, 0.0000])
    """
    require_trailing("distort", "points", points, "2")
    require_trailing("distort", "distortion", distortion, "5")
    a, b = points.unbind(-1)
    lens = lens_derivative(a, b, distortion.unbind(-1))
    return LensPoints(torch.stack((lens.a, lens.b), dim=-1), before_fold(a, b, lens, fold_radius(distortion)))


def undistort(points: Tensor, distortion: Tensor) -> LensPoints:
    """The normalised points that the lens sends to the given ones: the inverse of `distort`.

    Newton's method in float64, from the point itself; where that fails, from the radius found by halving the
    interval up to the fold. The gradient is that of the implicit function theorem, J^-1 (dy - dJ_c dc).

    Args:
        points: [...,2], float, distorted.
        distortion: [...,5], (k1, k2, p1, p2, k3); leading axes broadcast.

    Returns:
        LensPoints(points [...,2], valid [...]): NaN and false where no point before the fold is sent there.

    Raises:
        ValueError: the last axes are not as above.

    Source: spec multiview d.

    >>> lens = torch.tensor([-0.3, 0.0, 0.0, 0.0, 0.0])
    >>> undistort(torch.tensor([[0.5, 0.2], [0.9, 0.0]]), lens).points
    tensor([[0.5617, 0.2247],
            [   nan,    nan]])
    """
    require_trailing("undistort", "points", points, "2")
    require_trailing("undistort", "distortion", distortion, "5")
    root, valid = _roots(points.detach().double(), distortion.detach().double())
    a, b = root.where(valid[..., None], 0.0).to(points.dtype).unbind(-1)
    target_a, target_b = points.where(valid[..., None], 0.0).unbind(-1)
    lens = lens_derivative(a, b, distortion.unbind(-1))
    # At the root this step is rounding, but its derivative is that of the root.
    step_a, step_b = lens.solve(lens.a - target_a, lens.b - target_b)
    moved = torch.stack((a - step_a, b - step_b), dim=-1)
    return LensPoints(moved.where(valid[..., None], torch.nan), valid)


@torch.no_grad()
def fold_radius(distortion: Tensor) -> Tensor:
    """The radius at which the radial part turns back: the smallest positive root of its derivative.

    d/dr r (1 + k1 r^2 + k2 r^4 + k3 r^6) = 1 + 3 k1 s + 5 k2 s^2 + 7 k3 s^3 with s = r^2, hence with u = 1/s
    the largest root of u^3 + 3 k1 u^2 + 5 k2 u + 7 k3.

    Args:
        distortion: [...,5], (k1, k2, p1, p2, k3).

    Returns:
        [...], in normalised units; infinite where the radial part grows for ever. No gradient.

    Raises:
        ValueError: the last axis is not 5.

    >>> fold_radius(torch.tensor([[-1 / 3, 0.0, 0.0, 0.0, 0.0], [0.1, 0.0, 0.0, 0.0, 0.0]]))
    tensor([1., inf])
    """
    require_trailing("fold_radius", "distortion", distortion, "5")
    k1, k2, _, _, k3 = distortion.double().unbind(-1)
    a, b, c = 3 * k1, 5 * k2, 7 * k3
    u = _largest_root(a, b, c)
    terms = torch.stack((u * u * u, a * u * u, b * u, c), dim=-1)
    # Where there is no positive root, rounding may still leave one of next to nothing.
    is_root = terms.sum(-1).abs() <= 1e-6 * terms.abs().sum(-1)
    return torch.where((u > 0) & is_root, u, 0.0).reciprocal().sqrt().to(distortion.dtype)


def distort_pixels(uv: Tensor, K: Tensor, distortion: Tensor) -> LensPoints:
    """Pixels of a camera with distortion from those of the same camera without: K distort(K^-1 uv).

    Args:
        uv: [...,N,2] pixels.
        K: [...,3,3] pixels.
        distortion: [...,5]; leading axes of all three broadcast.

    Returns:
        LensPoints(points [...,N,2] pixels, valid [...,N]).

    Raises:
        ValueError: the last axes are not as above.
    """
    moved = distort(normalise(uv, K), distortion[..., None, :])
    return LensPoints(to_pixels(moved.points, K), moved.valid)


def undistort_pixels(uv: Tensor, K: Tensor, distortion: Tensor) -> LensPoints:
    """Pixels of a camera without distortion from those of the same camera with it: `distort_pixels` undone.

    Args:
        uv: [...,N,2] pixels.
        K: [...,3,3] pixels.
        distortion: [...,5]; leading axes of all three broadcast.

    Returns:
        LensPoints(points [...,N,2] pixels, valid [...,N]), as `undistort`.

    Raises:
        ValueError: the last axes are not as above.
    """
    moved = undistort(normalise(uv, K), distortion[..., None, :])
    return LensPoints(to_pixels(moved.points, K), moved.valid)


def project_distorted(
    points: Tensor, K: Tensor, R: Tensor, t: Tensor, distortion: Tensor
) -> DistortedProjection:
    """Project world points with an OpenCV camera that distorts.

    x_c = R X + t; (u, v, 1) = K distort(x_c/z). Nothing is clamped: use `valid`.

    Args:
        points: [...,N,3], float, in the unit of `t`.
        K: [...,3,3] pixels.
        R: [...,3,3], camera from world.
        t: [...,3].
        distortion: [...,5], (k1, k2, p1, p2, k3).

    Returns:
        DistortedProjection(uv [...,N,2], depth [...,N], valid [...,N]); leading axes broadcast.

    Raises:
        ValueError: the last axes are not as above.

    Source: spec multiview d.
    """
    normalised, depth = project(points, torch.eye(3, dtype=K.dtype, device=K.device), R, t)
    moved = distort(normalised, distortion[..., None, :])
    return DistortedProjection(to_pixels(moved.points, K), depth, moved.valid & (depth > 0))


def normalise(uv: Tensor, K: Tensor) -> Tensor:
    """The normalised points [...,N,2] of pixels [...,N,2]: the first two of K^-1 (u, v, 1)."""
    require_trailing("normalise", "uv", uv, "N,2")
    require_trailing("normalise", "K", K, "3,3")
    inverse = torch.linalg.inv(K)
    return uv @ inverse[..., :2, :2].mT + inverse[..., None, :2, 2]


def to_pixels(points: Tensor, K: Tensor) -> Tensor:
    """The pixels [...,N,2] of normalised points [...,N,2]: the first two of K (a, b, 1)."""
    require_trailing("to_pixels", "points", points, "N,2")
    require_trailing("to_pixels", "K", K, "3,3")
    return points @ K[..., :2, :2].mT + K[..., None, :2, 2]


class LensDerivative(NamedTuple):
    """The lens at given points, by components: the derivative is symmetric."""

    a: Tensor
    b: Tensor
    by_aa: Tensor  # of a' by a
    by_ab: Tensor  # of a' by b, and of b' by a
    by_bb: Tensor  # of b' by b

    def determinant(self) -> Tensor:
        """Of the derivative; negative where the lens mirrors."""
        return self.by_aa * self.by_bb - self.by_ab * self.by_ab

    def solve(self, right_a: Tensor, right_b: Tensor) -> tuple[Tensor, Tensor]:
        """The derivative's inverse times (right_a, right_b): infinite or NaN where it is singular."""
        determinant = self.determinant()
        return (
            (self.by_bb * right_a - self.by_ab * right_b) / determinant,
            (self.by_aa * right_b - self.by_ab * right_a) / determinant,
        )


def lens_derivative(a: Tensor, b: Tensor, coefficients: Sequence[Tensor]) -> LensDerivative:
    """Distorted points and the derivative by the points, without a question of validity.

    Args:
        a, b: [...], normalised; by components, because small matrices are slow in large batches.
        coefficients: k1, k2, p1, p2, k3, each of a shape that broadcasts with `a`.
    """
    k1, k2, p1, p2, k3 = coefficients
    aa, bb, ab = a * a, b * b, a * b
    s = aa + bb
    radial = 1 + s * (k1 + s * (k2 + s * k3))
    slope = 2 * (k1 + s * (2 * k2 + s * (3 * k3)))  # of the radial factor by a, over a
    cross = 2 * (p1 * a + p2 * b)
    return LensDerivative(
        a * radial + 2 * p1 * ab + p2 * (s + 2 * aa),
        b * radial + 2 * p2 * ab + p1 * (s + 2 * bb),
        radial + aa * slope + 2 * p1 * b + 6 * p2 * a,
        ab * slope + cross,
        radial + bb * slope + 6 * p1 * b + 2 * p2 * a,
    )


@torch.no_grad()
def before_fold(a: Tensor, b: Tensor, lens: LensDerivative, fold: Tensor) -> Tensor:
    """Whether points are inside the radius `fold`, and not mirrored by the tangential part: bool [...]."""
    return (a * a + b * b < fold.square()) & (lens.determinant() > 0)


@torch.no_grad()
def _roots(target: Tensor, distortion: Tensor) -> tuple[Tensor, Tensor]:
    """The points [...,2] before the fold that go to `target`, and which were found [...]."""
    fold = fold_radius(distortion)
    points, found = _newton(target, target, distortion, fold, FIRST_STEPS)
    lost = ~found & torch.isfinite(target).all(-1)
    if bool(lost.any()):
        shape = found.shape
        at = target.expand(*shape, 2)[lost], distortion.expand(*shape, 5)[lost], fold.expand(shape)[lost]
        points[lost], found[lost] = _newton(_radial_start(*at), *at, MORE_STEPS)
    return points, found


def _newton(
    start: Tensor, target: Tensor, distortion: Tensor, fold: Tensor, steps: int
) -> tuple[Tensor, Tensor]:
    a, b = start.unbind(-1)
    target_a, target_b = target.unbind(-1)
    coefficients = distortion.unbind(-1)
    allowed = SOLVED_ROUNDINGS * torch.finfo(torch.float64).eps * (1 + target_a.abs() + target_b.abs())
    for step in range(steps + 1):
        lens = lens_derivative(a, b, coefficients)
        rest_a, rest_b = lens.a - target_a, lens.b - target_b
        solved = rest_a.abs() + rest_b.abs() <= allowed
        if step == steps or bool(solved.all()):
            break
        step_a, step_b = lens.solve(rest_a, rest_b)
        a, b = a - step_a, b - step_b
    points = torch.stack(torch.broadcast_tensors(a, b, solved)[:2], dim=-1)
    return points, solved & before_fold(a, b, lens, fold)


def _radial_start(target: Tensor, distortion: Tensor, fold: Tensor) -> Tensor:
    """The point in the direction of `target` whose radius the radial part alone sends to that of `target`."""
    k1, k2, _, _, k3 = distortion.unbind(-1)
    wanted = target.norm(dim=-1)
    # A lens without a fold has passed any radius of interest long before 1e3.
    low, high = torch.zeros_like(wanted), fold.clamp(max=1e3)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        s = middle.square()
        below = middle * (1 + s * (k1 + s * (k2 + s * k3))) < wanted
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return target * (low / wanted.clamp(min=1e-300))[..., None]


def _largest_root(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """The largest real root of u^3 + a u^2 + b u + c, by Cardano and Vieta and two steps of Newton."""
    shift = a / 3
    third_p, half_q = b / 3 - shift * shift, (shift * shift - b / 2) * shift + c / 2
    discriminant = half_q * half_q + third_p * third_p * third_p
    root = discriminant.clamp(min=0).sqrt()
    larger = half_q + root.copysign(half_q)  # the sum that does not cancel
    cube = -(larger.abs() ** (1 / 3)).copysign(larger)
    one = cube - torch.where(cube == 0, cube, third_p / cube)
    radius = (-third_p).clamp(min=0).sqrt()
    cosine = torch.where(radius == 0, radius, -half_q / (radius * radius * radius)).clamp(-1, 1)
    three = 2 * radius * torch.cos(torch.acos(cosine) / 3)
    u = torch.where(discriminant > 0, one, three) - shift
    for _ in range(2):
        slope = (3 * u + 2 * a) * u + b
        u = torch.where(slope == 0, u, u - (((u + a) * u + b) * u + c) / slope)
    return u
