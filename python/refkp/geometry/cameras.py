"""Pinhole cameras: projection with OpenCV cameras, and the exact border to PyTorch3D's conventions.

OpenCV (used everywhere inside refkp): axes x right, y down, z forward; x_c = R X + t on column vectors; K
in pixels, with pixel centres at +0.5 (the origin is the outer corner of the top-left pixel).

PyTorch3D (only here): axes x left, y up, z forward; x_v = X R + T on row vectors; NDC, where half of the
shorter image side is 1, +x left, +y up; screen coordinates in pixels with the origin and axes of OpenCV.
Image sizes are (height, width), and all functions are right for non-square images and off-centre principal
points.

Every function takes any leading axes, float32 or float64, and passes gradients to all its floating inputs.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from refkp._checks import fail, require_choice, require_trailing

if TYPE_CHECKING:
    from pytorch3d.renderer import PerspectiveCameras


class Projection(NamedTuple):
    """Points seen by a camera."""

    uv: Tensor  # [...,N,2] pixels
    depth: Tensor  # [...,N] along the optical axis; not positive: the point is not in front of the camera


class OpenCVCamera(NamedTuple):
    """World-to-camera pinhole camera with OpenCV axes."""

    K: Tensor  # [...,3,3] pixels
    R: Tensor  # [...,3,3]
    t: Tensor  # [...,3]


class PyTorch3DCamera(NamedTuple):
    """The arguments of PyTorch3D's `PerspectiveCameras(in_ndc=True)`, under the same names."""

    R: Tensor  # [...,3,3]
    T: Tensor  # [...,3]
    focal_length: Tensor  # [...,2] NDC
    principal_point: Tensor  # [...,2] NDC
    image_size: Tensor  # [...,2] integer (height, width)

    def in_ndc(self) -> bool:
        """True, as for the PyTorch3D class that this stands for."""
        return True


class FieldOfView(NamedTuple):
    """What a PyTorch3D FoV camera keeps of the intrinsics (not the principal point)."""

    fov_deg: Tensor  # [...]
    aspect: Tensor  # [...]


def project(points: Tensor, K: Tensor, R: Tensor, t: Tensor) -> Projection:
    """Project world points with an OpenCV camera.

    x_c = R X + t; (u, v, 1) ~ K x_c. Nothing is clamped: mask the points whose depth is not positive.

    Args:
        points: [...,N,3], float, in the unit of `t`.
        K: [...,3,3] pixels, the whole matrix is used (skew too).
        R: [...,3,3], camera from world.
        t: [...,3].

    Returns:
        Projection(uv [...,N,2], depth [...,N]); leading axes broadcast.

    Raises:
        ValueError: the last axes are not as above.

    Source: spec multiview d.

    >>> K = torch.tensor([[100.0, 0.0, 32.0], [0.0, 100.0, 24.0], [0.0, 0.0, 1.0]])
    >>> project(torch.tensor([[0.1, 0.0, 2.0]]), K, torch.eye(3), torch.zeros(3)).uv
    tensor([[37., 24.]])
    """
    _check_extrinsics("project", points, R, "R", t, "t")
    require_trailing("project", "K", K, "3,3")
    in_camera = points @ R.mT + t[..., None, :]
    pixels = in_camera @ K.mT
    return Projection(pixels[..., :2] / pixels[..., 2:], in_camera[..., 2])


def unproject(uv: Tensor, depth: Tensor, K: Tensor, R: Tensor, t: Tensor) -> Tensor:
    """World points seen at pixels with known depth: x = R^T (z K^-1 (u, v, 1) - t), the inverse of `project`.

    Args:
        uv: [...,2], float, pixels.
        depth: [...], z in the camera frame, in the unit of `t`.
        K: [...,3,3], pixels.
        R, t: [...,3,3] and [...,3], world to camera; all leading axes broadcast.

    Returns:
        [...,3].

    >>> K = torch.tensor([[2.0, 0.0, 2.0], [0.0, 2.0, 2.0], [0.0, 0.0, 1.0]])
    >>> unproject(torch.tensor([2.5, 0.5]), torch.tensor(100.0), K, torch.eye(3), torch.zeros(3))
    tensor([  25.,  -75.,  100.])
    """
    require_trailing("unproject", "uv", uv, "2")
    require_trailing("unproject", "K", K, "3,3")
    require_trailing("unproject", "R", R, "3,3")
    pixel = torch.cat((uv, torch.ones_like(uv[..., :1])), dim=-1)[..., None]
    camera = depth[..., None] * (torch.linalg.inv(K) @ pixel)[..., 0]
    return (R.mT @ (camera - t)[..., None])[..., 0]


def to_pytorch3d(K: Tensor, R: Tensor, t: Tensor, image_size: Tensor) -> PyTorch3DCamera | PerspectiveCameras:
    """The PyTorch3D perspective camera that draws every point where the OpenCV camera does.

    R_p = R^T D, T_p = D t with D = diag(-1,-1,1); with s = min(height, width)/2: focal length (fx, fy)/s and
    principal point -((cx, cy) - (width, height)/2)/s. Skew has no place in a PyTorch3D camera.

    Args:
        K: [...,3,3] pixels, without skew.
        R: [...,3,3], camera from world.
        t: [...,3].
        image_size: [...,2] (height, width), integer or float.

    Returns:
        `pytorch3d.renderer.PerspectiveCameras` where PyTorch3D is installed, else PyTorch3DCamera, which
        holds the same numbers under the same names. `pytorch3d_camera` always gives the latter.

    Raises:
        ValueError: the last axes are not as above, or K has skew.

    Source: spec multiview d.

    >>> K = torch.tensor([[[100.0, 0.0, 32.0], [0.0, 100.0, 24.0], [0.0, 0.0, 1.0]]])
    >>> to_pytorch3d(K, torch.eye(3)[None], torch.zeros(1, 3), torch.tensor([[48, 64]])).focal_length
    tensor([[4.1667, 4.1667]])
    """
    camera = pytorch3d_camera(K, R, t, image_size)
    if importlib.util.find_spec("pytorch3d") is None:
        return camera
    from pytorch3d.renderer import PerspectiveCameras

    return PerspectiveCameras(**camera._asdict(), in_ndc=True, device=K.device)


def pytorch3d_camera(K: Tensor, R: Tensor, t: Tensor, image_size: Tensor) -> PyTorch3DCamera:
    """The parameters of `to_pytorch3d` as plain tensors, whether or not PyTorch3D is installed."""
    require_trailing("to_pytorch3d", "K", K, "3,3")
    require_trailing("to_pytorch3d", "R", R, "3,3")
    require_trailing("to_pytorch3d", "t", t, "3")
    if bool(K[..., 0, 1].any()):
        fail("to_pytorch3d", "K", "without skew", "K[...,0,1] != 0", "PyTorch3D cameras cannot represent it.")
    focal_length = torch.stack((K[..., 0, 0], K[..., 1, 1]), dim=-1)
    focal_length, principal_point = intrinsics_to_ndc(focal_length, K[..., :2, 2], image_size)
    flip = _axis_flip(R)
    return PyTorch3DCamera(R.mT * flip, t * flip, focal_length, principal_point, image_size)


def from_pytorch3d(camera: PyTorch3DCamera | Any) -> OpenCVCamera:
    """The OpenCV camera of a PyTorch3D perspective camera; the inverse of `to_pytorch3d`.

    Args:
        camera: PyTorch3DCamera or `pytorch3d.renderer.PerspectiveCameras` (in NDC or in pixels), with
            `image_size`.

    Returns:
        OpenCVCamera(K, R, t).

    Source: spec multiview d.

    >>> K = torch.tensor([[100.0, 0.0, 30.0], [0.0, 90.0, 24.0], [0.0, 0.0, 1.0]])
    >>> camera = pytorch3d_camera(K, torch.eye(3), torch.zeros(3), torch.tensor([48, 64]))
    >>> from_pytorch3d(camera).K
    tensor([[100.,   0.,  30.],
            [  0.,  90.,  24.],
            [  0.,   0.,   1.]])
    """
    flip = _axis_flip(camera.R)
    focal_length = camera.focal_length.expand_as(camera.principal_point)
    principal_point = camera.principal_point
    if camera.in_ndc():
        size_wh, half = _size_and_half(camera.image_size, principal_point)
        focal_length, principal_point = focal_length * half, size_wh / 2 - principal_point * half
    last_row = torch.zeros_like(camera.R[..., :1, :])
    last_row[..., 2] = 1
    K = torch.cat((torch.cat((focal_length.diag_embed(), principal_point[..., None]), -1), last_row), -2)
    return OpenCVCamera(K, (camera.R * flip).mT, camera.T * flip)


def world_to_view(points: Tensor, R: Tensor, T: Tensor) -> Tensor:
    """PyTorch3D's view transform on row vectors: x_v = X R + T.

    Args:
        points: [...,N,3].
        R: [...,3,3].
        T: [...,3].

    Returns:
        [...,N,3]; leading axes broadcast.
    """
    _check_extrinsics("world_to_view", points, R, "R", T, "T")
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
    size_wh, half = _size_and_half(image_size, ndc)
    xy = size_wh[..., None, :] / 2 - half[..., None, :] * ndc[..., :2]
    return torch.cat((xy, ndc[..., 2:].expand(*xy.shape[:-1], -1)), dim=-1)


def intrinsics_to_ndc(
    focal_length: Tensor, principal_point: Tensor, image_size: Tensor
) -> tuple[Tensor, Tensor]:
    """Focal length and principal point in NDC of those in pixels.

    Args:
        focal_length, principal_point: [...,2] pixels, (x, y).
        image_size: [...,2] (height, width).

    Returns:
        (focal_length [...,2], principal_point [...,2]).
    """
    require_trailing("intrinsics_to_ndc", "image_size", image_size, "2")
    size_wh, half = _size_and_half(image_size, focal_length)
    return focal_length / half, (size_wh / 2 - principal_point) / half


def normalise_pixels(uv: Tensor, image_size: Tensor) -> Tensor:
    """Pixels as fractions of the image: (u/width, v/height).

    Args:
        uv: [...,N,2].
        image_size: [...,2] (height, width).

    Returns:
        [...,N,2].
    """
    return uv / image_size.to(uv.dtype).flip(-1)[..., None, :]


def field_of_view(K: Tensor, image_size: Tensor, *, canvas: str = "native") -> FieldOfView:
    """The field of view and aspect with which PyTorch3D's FoV camera stands for K.

    "native" (renders at the image's size): fov = 2 atan(min(height, width)/(2 fy)), aspect = fy/fx.
    "square" (renders the image stretched to a square): fov = 2 atan(height/(2 fy)),
    aspect = width fy/(height fx). Each is exact if and only if the principal point is the image centre;
    else every point is off by (cx - width/2, cy - height/2).

    Args:
        K: [...,3,3] pixels.
        image_size: [...,2] (height, width).
        canvas: "native" or "square".

    Returns:
        FieldOfView(fov_deg [...], aspect [...]).

    Raises:
        ValueError: unknown canvas, or the last axes are not as above.

    Source: spec multiview d.

    >>> K = torch.tensor([[32.0, 0.0, 32.0], [0.0, 32.0, 32.0], [0.0, 0.0, 1.0]])
    >>> field_of_view(K, torch.tensor([64, 64]))
    FieldOfView(fov_deg=tensor(90.), aspect=tensor(1.))
    """
    require_choice("field_of_view", "canvas", canvas, ("native", "square"))
    require_trailing("field_of_view", "K", K, "3,3")
    height, width = image_size.to(K.dtype).unbind(-1)
    fx, fy = K[..., 0, 0], K[..., 1, 1]
    if canvas == "square":
        side, aspect = height, width * fy / (height * fx)
    else:
        side, aspect = torch.minimum(height, width), fy / fx
    return FieldOfView(torch.rad2deg(2 * torch.atan(side / (2 * fy))), aspect)


def _check_extrinsics(function: str, points: Tensor, R: Tensor, R_name: str, t: Tensor, t_name: str) -> None:
    require_trailing(function, "points", points, "N,3")
    require_trailing(function, R_name, R, "3,3")
    require_trailing(function, t_name, t, "3")


def _axis_flip(like: Tensor) -> Tensor:
    """The diagonal of D, which turns OpenCV axes into PyTorch3D's and back."""
    return like.new_tensor([-1.0, -1.0, 1.0])


def _size_and_half(image_size: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """(width, height) [...,2] and half of the shorter side [...,1], as floats."""
    size_wh = image_size.to(like.dtype).flip(-1)
    return size_wh, size_wh.amin(-1, keepdim=True) / 2
