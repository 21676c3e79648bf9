"""Residuals of a bundle with analytic derivatives, and its normal equations with the points eliminated."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from refkp.geometry.bundle.problem import CAMERA_SIZE
from refkp.geometry.rig import Rig, Sight, folds, sight

#: Points whose derivatives are held at once.
CHUNK = 1 << 15


class Views(NamedTuple):
    """What the cameras saw."""

    uv: Tensor  # [n,V,2] pixels, finite
    weights: Tensor  # [n,V], inverse variances relative to each other; 0: not seen


class Linearised(NamedTuple):
    """A chunk of n points: residuals and derivatives, weighted by the square root of the robust weights."""

    residual: Tensor  # [V,n,2]
    by_camera: Tensor  # [V,n,2,8]
    by_point: Tensor  # [V,n,2,3]
    cost: Tensor  # scalar


class Reduced(NamedTuple):
    """Normal equations of the cameras alone (Schur complement), and what gives the points' steps back."""

    matrix: Tensor  # [8V,8V]
    gradient: Tensor  # [8V]
    cost: Tensor  # scalar


def robust_cost(rig: Rig, points: Tensor, views: Views, scale_px: float) -> Tensor:
    """sum w c^2 log(1 + r^2/c^2) over all observations; infinite if one has its point behind the camera."""
    at = sight(rig, *points.unbind(-1))
    off = torch.stack((at.u, at.v), dim=-1) - views.uv.movedim(1, 0)
    cost = views.weights.mT * torch.log1p(off.square().sum(-1) / scale_px**2) * scale_px**2
    cost = cost.where(at.in_front(folds(rig)), torch.inf)
    return cost.where(views.weights.mT > 0, 0.0).sum()


def reduce_to_cameras(
    rig: Rig, points: Tensor, views: Views, scale_px: float, damping: float
) -> tuple[Reduced, Tensor, Tensor]:
    """The reduced normal equations, and for the points: (V + damping diag V)^-1 W^T [n,3,8V] and ^-1 g [n,3].

    With camera blocks U, point blocks V and mixed ones W the cameras solve (U - W V^-1 W^T) x = g_c - W V^-1 g_p;
    U is damped likewise.
    """
    size = len(rig.K) * CAMERA_SIZE
    matrix, gradient, cost = points.new_zeros(size, size), points.new_zeros(size), points.new_zeros(())
    back, own = [], []
    for start in range(0, len(points), CHUNK):
        part = slice(start, start + CHUNK)
        at = linearise(rig, points[part], Views(views.uv[part], views.weights[part]), scale_px)
        mixed = torch.einsum("vnra,vnrb->nbva", at.by_camera, at.by_point).flatten(-2)  # [n,3,8V]
        block = _damped(torch.einsum("vnra,vnrb->nab", at.by_point, at.by_point), damping)
        to_points = torch.einsum("vnra,vnr->na", at.by_point, at.residual)
        inverse = torch.linalg.inv(block)
        through = inverse @ mixed
        matrix -= mixed.flatten(0, 1).mT @ through.flatten(0, 1)
        own.append((inverse @ to_points[..., None])[..., 0])
        back.append(through)
        cameras = torch.einsum("vnra,vnrb->vab", at.by_camera, at.by_camera)
        matrix += torch.block_diag(*_damped(cameras, damping))
        gradient += torch.einsum("vnra,vnr->va", at.by_camera, at.residual).flatten()
        gradient -= torch.einsum("nbk,nb->k", mixed, own[-1])
        cost = cost + at.cost
    return Reduced(matrix, gradient, cost), torch.cat(back), torch.cat(own)


def linearise(rig: Rig, points: Tensor, views: Views, scale_px: float) -> Linearised:
    """Residuals and derivatives of points [n,3] in V views."""
    at = sight(rig, *points.unbind(-1))
    off = torch.stack((at.u, at.v), dim=-1) - views.uv.movedim(1, 0)
    weights = views.weights.mT
    relative = off.square().sum(-1) / scale_px**2
    cost = (weights * torch.log1p(relative) * scale_px**2).where(weights > 0, 0.0).sum()
    root = (weights / (1 + relative)).sqrt()[..., None]
    by_camera_point = torch.stack((torch.stack(at.u_by_camera, -1), torch.stack(at.v_by_camera, -1)), dim=-2)
    by_camera, by_point = _by_parameters(rig, at, by_camera_point)
    return Linearised(off * root, by_camera * root[..., None], by_point * root[..., None], cost)


def _by_parameters(rig: Rig, at: Sight, by_camera_point: Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives of pixels by the 8 parameters of the camera [V,n,2,8] and by the point [V,n,2,3].

    x_cam = exp(w) R (X - c): by w it is that of w x x_cam, by c it is -R, by X it is R.
    """
    by_point = by_camera_point @ rig.R[:, None]
    camera = torch.stack(at.camera, dim=-1)[..., None, :].expand_as(by_camera_point)
    by_turn = torch.linalg.cross(camera, by_camera_point)  # g . (w x y) = w . (y x g)
    focal = rig.K[:, None, :2, :2]
    by_log_focal = focal @ torch.stack((at.lens.a, at.lens.b), dim=-1)[..., None]
    squared = at.a * at.a + at.b * at.b
    by_radial = focal @ torch.stack((at.a * squared, at.b * squared), dim=-1)[..., None]
    return torch.cat((by_turn, -by_point, by_log_focal, by_radial), dim=-1), by_point


def _damped(matrix: Tensor, damping: float) -> Tensor:
    return matrix + torch.diag_embed(damping * matrix.diagonal(dim1=-2, dim2=-1))
