"""How PyTorch3D's cameras draw points, in its own conventions: view, NDC and screen coordinates.

Conventions as in `refkp.geometry.cameras`, which converts cameras from and to PyTorch3D's.
"""

from __future__ import annotations

import torch
from torch import Tensor

from refkp._checks import require_trailing
from refkp.geometry.cameras import size_and_half


def world_to_view(points: Tensor, R: Tensor, T: Tensor) -> Tensor:
    """PyTorch3D's view transform on row vectors: x_v = X R + T.

    Args:
        points: [...,N,3].
        R: [...,3,3].
        T: [...,3].

    Returns:
        [...,N,3]; leading axes broadcast.
    """
    require_trailing("world_to_view", "points", points, "N,3")
    require_trailing("world_to_view", "R", R, "3,3")
    require_trailing("world_to_view", "T", T, "3")
    return points @ R + T[..., None, :]


def perspective_ndc(view: Tensor, focal_length: Tensor, principal_point: Tensor) -> Tensor:
    """NDC of view points under PyTorch3D's perspective camera: f (x, y)/z + p, with 1/z as third component.

    Args:
        view: [...,N,3] from `world_to_view`.
        focal_length, principal_point: [...,2], NDC (`intrinsics_to_ndc` converts pixels).

    Returns:
        [...,N,3]; leading axes broadcast.
    """
    inverse_z = view[..., 2:].reciprocal()
    xy = focal_length[..., None, :] * view[..., :2] * inverse_z + principal_point[..., None, :]
    return torch.cat((xy, inverse_z), dim=-1)


def fov_ndc(
    view: Tensor, fov_deg: Tensor, aspect: Tensor, *, z_near: float = 1e-3, z_far: float = 1e3
) -> Tensor:
    """NDC of view points under PyTorch3D's field-of-view camera.

    x_ndc = x/(z tan(fov/2) aspect), y_ndc = y/(z tan(fov/2)),
    z_ndc = z_far (z - z_near)/((z_far - z_near) z).

    Args:
        view: [...,N,3] from `world_to_view`.
        fov_deg: [...], degrees, across the shorter image side.
        aspect: [...], the factor on x.
        z_near, z_far: the depths whose z_ndc are 0 and 1, in the unit of `view`.

    Returns:
        [...,N,3]; leading axes broadcast.

    Source: spec multiview d.
    """
    x, y, z = view.unbind(-1)
    tangent = torch.deg2rad(fov_deg / 2).tan()[..., None]
    z_ndc = z_far * (z - z_near) / ((z_far - z_near) * z)
    return torch.stack((x / (z * tangent * aspect[..., None]), y / (z * tangent), z_ndc), dim=-1)


def ndc_to_screen(ndc: Tensor, image_size: Tensor) -> Tensor:
    """Pixels of NDC points: u = width/2 - s x, v = height/2 - s y with s = min(height, width)/2.

    Args:
        ndc: [...,N,2] or [...,N,3]; a third component stays as it is.
        image_size: [...,2] (height, width).

    Returns:
        The shape of `ndc`.
    """
    size_wh, half = size_and_half(image_size, ndc)
    xy = size_wh[..., None, :] / 2 - half[..., None, :] * ndc[..., :2]
    return torch.cat((xy, ndc[..., 2:].expand(*xy.shape[:-1], -1)), dim=-1)


def normalise_pixels(uv: Tensor, image_size: Tensor) -> Tensor:
    """Pixels as fractions of the image: (u/width, v/height).

    Args:
        uv: [...,N,2].
        image_size: [...,2] (height, width).

    Returns:
        [...,N,2].
    """
    return uv / image_size.to(uv.dtype).flip(-1)[..., None, :]
