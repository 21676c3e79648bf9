"""The canonical frame: a rig and its points in the coordinates of its first view, so that recordings compare."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from refkp._checks import fail, require_trailing
from refkp.geometry.cameras import axis_flip


class CanonicalFrame(NamedTuple):
    """A rig and its points in another world; what every camera sees is the same."""

    R: Tensor  # [...,V,3,3]; views that are not there are left as they were
    t: Tensor  # [...,V,3]
    points: Tensor  # [...,N,3]; points that are not there are left as they were
    anchor: Tensor  # int64 [...], the view that the world is that of


def canonical_frame(
    R: Tensor,
    t: Tensor,
    points: Tensor,
    *,
    view_mask: Tensor | None = None,
    valid: Tensor | None = None,
    anchor: int | Tensor | None = None,
    pytorch3d: bool = False,
) -> CanonicalFrame:
    """Move the world into a view: R_v <- R_v R_0^T, t_v <- t_v - R_v R_0^T t_0, X <- R_0 X + t_0.

    With `pytorch3d` the world is then turned by D = diag(-1,-1,1), R_v <- R_v D and X <- D X, so that PyTorch3D's
    camera of the anchor is the identity.

    Args:
        R: [...,V,3,3], camera from world.
        t: [...,V,3].
        points: [...,N,3], float.
        view_mask: bool [...,V], which views are there. None: all.
        valid: bool [...,N], which points are there. None: all.
        anchor: the view, or int64 [...] one for each rig; None: the first of those that are there.
        pytorch3d: whether to turn to PyTorch3D's axes.

    Returns:
        CanonicalFrame(R, t, points, anchor).

    Raises:
        ValueError: the last axes are not as above, or the anchor, or every view, is masked out.

    Gradients reach R, t and points.

    Source: spec multiview i.

    >>> t = torch.tensor([[0.0, 0.0, 2.0], [1.0, 0.0, 2.0]])
    >>> canonical_frame(torch.eye(3).repeat(2, 1, 1), t, torch.zeros(1, 3)).points
    tensor([[0., 0., 2.]])
    """
    require_trailing("canonical_frame", "R", R, "V,3,3")
    require_trailing("canonical_frame", "t", t, f"{R.shape[-3]},3")
    require_trailing("canonical_frame", "points", points, "N,3")
    there = torch.ones_like(t[..., 0], dtype=torch.bool) if view_mask is None else view_mask
    require_trailing("canonical_frame", "view_mask", there, str(R.shape[-3]))
    first = _anchor(there, anchor)
    index = first[..., None, None].expand(*first.shape, 1, 3)
    t_0 = t.gather(-2, index)  # [...,1,3]
    R_0 = R.gather(-3, index[..., None].expand(*first.shape, 1, 3, 3))  # [...,1,3,3]
    turned = R @ R_0.mT
    shifted = t - (turned @ t_0[..., None])[..., 0]
    moved = points @ R_0[..., 0, :, :].mT + t_0
    if pytorch3d:
        flip = axis_flip(R)
        turned, moved = turned * flip, moved * flip
    if valid is not None:
        require_trailing("canonical_frame", "valid", valid, str(points.shape[-2]))
        moved = moved.where(valid[..., None], points)
    return CanonicalFrame(
        turned.where(there[..., None, None], R), shifted.where(there[..., None], t), moved, first
    )


def _anchor(there: Tensor, anchor: int | Tensor | None) -> Tensor:
    first = there.to(torch.int64).argmax(-1)
    if anchor is not None:
        first = torch.as_tensor(anchor, device=first.device).expand_as(first)
    if not bool(there.gather(-1, first[..., None]).all()):
        fail("canonical_frame", "view_mask", "true for the anchor", "a view that is not there")
    return first
