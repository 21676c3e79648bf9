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

from refkp._checks import fail, require_trailing
from refkp._extras import named_extras

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
    require_trailing("project", "points", points, "N,3")
    require_trailing("project", "K", K, "3,3")
    require_trailing("project", "R", R, "3,3")
    require_trailing("project", "t", t, "3")
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


def projection_matrix(K: Tensor, R: Tensor, t: Tensor) -> Tensor:
    """P = K [R|t], which takes homogeneous world points to homogeneous pixels.

    Args:
        K: [...,3,3] pixels.
        R: [...,3,3], camera from world.
        t: [...,3].

    Returns:
        [...,3,4]; leading axes broadcast.

    Raises:
        ValueError: the last axes are not as above.
    """
    require_trailing("projection_matrix", "K", K, "3,3")
    require_trailing("projection_matrix", "R", R, "3,3")
    require_trailing("projection_matrix", "t", t, "3")
    return torch.cat((K @ R, K @ t[..., None]), dim=-1)


def project_with_matrix(points: Tensor, P: Tensor) -> Projection:
    """Project world points by P = K [R|t]: (u, v, 1) ~ P (x, y, z, 1).

    Args:
        points: [...,N,3].
        P: [...,3,4].

    Returns:
        Projection(uv [...,N,2], depth [...,N]); leading axes broadcast.

    Raises:
        ValueError: the last axes are not as above.
    """
    require_trailing("project_with_matrix", "points", points, "N,3")
    require_trailing("project_with_matrix", "P", P, "3,4")
    pixels = points @ P[..., :3].mT + P[..., None, :, 3]
    return Projection(pixels[..., :2] / pixels[..., 2:], pixels[..., 2])


def camera_centre(R: Tensor, t: Tensor) -> Tensor:
    """Where a camera stands in the world: -R^T t.

    Args:
        R: [...,3,3], camera from world.
        t: [...,3].

    Returns:
        [...,3].

    >>> camera_centre(torch.eye(3), torch.tensor([0.0, 0.0, 4.0]))
    tensor([ 0.,  0., -4.])
    """
    require_trailing("camera_centre", "R", R, "3,3")
    require_trailing("camera_centre", "t", t, "3")
    return -(R.mT @ t[..., None])[..., 0] + 0.0


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
    with named_extras():
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
    flip = axis_flip(R)
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
    flip = axis_flip(camera.R)
    focal_length = camera.focal_length.expand_as(camera.principal_point)
    principal_point = camera.principal_point
    if camera.in_ndc():
        size_wh, half = size_and_half(camera.image_size, principal_point)
        focal_length, principal_point = focal_length * half, size_wh / 2 - principal_point * half
    last_row = torch.zeros_like(camera.R[..., :1, :])
    last_row[..., 2] = 1
    K = torch.cat((torch.cat((focal_length.diag_embed(), principal_point[..., None]), -1), last_row), -2)
    return OpenCVCamera(K, (camera.R * flip).mT, camera.T * flip)


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
    size_wh, half = size_and_half(image_size, focal_length)
    return focal_length / half, (size_wh / 2 - principal_point) / half


def axis_flip(like: Tensor) -> Tensor:
    """The diagonal of D, which turns OpenCV axes into PyTorch3D's and back."""
    return like.new_tensor([-1.0, -1.0, 1.0])


def size_and_half(image_size: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """(width, height) [...,2] and half of the shorter side [...,1], as floats."""
    size_wh = image_size.to(like.dtype).flip(-1)
    return size_wh, size_wh.amin(-1, keepdim=True) / 2
