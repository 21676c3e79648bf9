"""Field-of-view cameras: what PyTorch3D's FoV camera keeps of the intrinsics, and how far off that draws.

Conventions as in `refkp.geometry.cameras`. A FoV camera has no principal point.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from refkp._checks import fail, require_choice, require_trailing
from refkp._extras import named_extras
from refkp.geometry.cameras import OpenCVCamera, axis_flip

if TYPE_CHECKING:
    from pytorch3d.renderer import FoVPerspectiveCameras

CANVASES = ("native", "square")
#: A principal point so close to the centre is there: pixels.
CENTRED_PX = 1e-3


class FieldOfView(NamedTuple):
    """The intrinsics of a PyTorch3D FoV camera, and what it loses."""

    fov_deg: Tensor  # [...]
    aspect: Tensor  # [...]
    offset_px: Tensor  # [...,2], (cx, cy) less the image centre: every point is drawn so far off


class PyTorch3DFoVCamera(NamedTuple):
    """The arguments of PyTorch3D's `FoVPerspectiveCameras`, under the same names."""

    R: Tensor  # [...,3,3]
    T: Tensor  # [...,3]
    fov: Tensor  # [...], degrees
    aspect_ratio: Tensor  # [...]


def field_of_view(K: Tensor, image_size: Tensor, *, canvas: str = "native") -> FieldOfView:
    """The field of view and aspect with which PyTorch3D's FoV camera stands for K.

    "native" (renders at the image's size): fov = 2 atan(min(height, width)/(2 fy)), aspect = fy/fx.
    "square" (renders the image stretched to a square): fov = 2 atan(height/(2 fy)),
    aspect = width fy/(height fx). Each is exact if and only if the principal point is the image centre;
    else every point is off by `offset_px`.

    Args:
        K: [...,3,3] pixels.
        image_size: [...,2] (height, width).
        canvas: "native" or "square".

    Returns:
        FieldOfView(fov_deg [...], aspect [...], offset_px [...,2]).

    Raises:
        ValueError: unknown canvas, or the last axes are not as above.

    Source: spec multiview d.

    >>> K = torch.tensor([[32.0, 0.0, 32.0], [0.0, 32.0, 33.0], [0.0, 0.0, 1.0]])
    >>> field_of_view(K, torch.tensor([64, 64]))
    FieldOfView(fov_deg=tensor(90.), aspect=tensor(1.), offset_px=tensor([0., 1.]))
    """
    require_choice("field_of_view", "canvas", canvas, CANVASES)
    require_trailing("field_of_view", "K", K, "3,3")
    require_trailing("field_of_view", "image_size", image_size, "2")
    size = image_size.to(K.dtype)
    height, width = size.unbind(-1)
    fx, fy = K[..., 0, 0], K[..., 1, 1]
    if canvas == "square":
        side, aspect = height, width * fy / (height * fx)
    else:
        side, aspect = torch.minimum(height, width), fy / fx
    return FieldOfView(
        torch.rad2deg(2 * torch.atan(side / (2 * fy))), aspect, K[..., :2, 2] - size.flip(-1) / 2
    )


def to_pytorch3d_fov(
    K: Tensor,
    R: Tensor,
    t: Tensor,
    image_size: Tensor,
    *,
    canvas: str = "native",
    max_offset_px: float = CENTRED_PX,
) -> PyTorch3DFoVCamera | FoVPerspectiveCameras:
    """The PyTorch3D FoV camera that draws every point where the OpenCV camera does, if there is one.

    R_p = R^T D, T_p = D t with D = diag(-1,-1,1); `fov` and `aspect_ratio` as `field_of_view`.

    Args:
        K: [...,3,3] pixels, without skew.
        R: [...,3,3], camera from world.
        t: [...,3].
        image_size: [...,2] (height, width).
        canvas: "native", or "square" to draw the image stretched to a square.
        max_offset_px: how far the principal point may be from the centre; the picture shifts by that much.

    Returns:
        `pytorch3d.renderer.FoVPerspectiveCameras` where PyTorch3D is installed, else PyTorch3DFoVCamera, which
        holds the same numbers under the same names. `pytorch3d_fov_camera` always gives the latter.

    Raises:
        ValueError: the principal point is off the centre, K has skew, or the last axes are not as above.

    Source: spec multiview d.
    """
    camera = pytorch3d_fov_camera(K, R, t, image_size, canvas=canvas, max_offset_px=max_offset_px)
    if importlib.util.find_spec("pytorch3d") is None:
        return camera
    with named_extras():
        from pytorch3d.renderer import FoVPerspectiveCameras
    return FoVPerspectiveCameras(**camera._asdict(), znear=1e-3, zfar=1e3, degrees=True, device=K.device)


def pytorch3d_fov_camera(
    K: Tensor,
    R: Tensor,
    t: Tensor,
    image_size: Tensor,
    *,
    canvas: str = "native",
    max_offset_px: float = CENTRED_PX,
) -> PyTorch3DFoVCamera:
    """The parameters of `to_pytorch3d_fov` as plain tensors, whether or not PyTorch3D is installed."""
    require_trailing("to_pytorch3d_fov", "R", R, "3,3")
    require_trailing("to_pytorch3d_fov", "t", t, "3")
    view = field_of_view(K, image_size, canvas=canvas)
    if bool(K[..., 0, 1].any()):
        fail(
            "to_pytorch3d_fov",
            "K",
            "without skew",
            "K[...,0,1] != 0",
            "PyTorch3D cameras cannot represent it.",
        )
    offset = float(view.offset_px.detach().abs().amax())
    if not offset <= max_offset_px:
        fail(
            "to_pytorch3d_fov",
            "K",
            f"centred within {max_offset_px:g} px, for a FoV camera has no principal point",
            f"an offset of {offset:.6g} px",
            "Use `to_pytorch3d`, or accept the shift by `max_offset_px`.",
        )
    flip = axis_flip(R)
    return PyTorch3DFoVCamera(R.mT * flip, t * flip, view.fov_deg, view.aspect)


def from_pytorch3d_fov(
    camera: PyTorch3DFoVCamera | Any, image_size: Tensor, *, canvas: str = "native"
) -> OpenCVCamera:
    """The OpenCV camera of a PyTorch3D FoV camera; the inverse of `to_pytorch3d_fov`.

    Args:
        camera: PyTorch3DFoVCamera (`fov` in degrees), or `pytorch3d.renderer.FoVPerspectiveCameras`.
        image_size: [...,2] (height, width) of the image that K is to be for.
        canvas: what the camera draws on, "native" or "square".

    Returns:
        OpenCVCamera(K, R, t), with the principal point in the centre.

    Raises:
        ValueError: unknown canvas, or the last axes are not as above.

    >>> camera = PyTorch3DFoVCamera(torch.eye(3), torch.zeros(3), torch.tensor(90.0), torch.tensor(2.0))
    >>> from_pytorch3d_fov(camera, torch.tensor([40, 60])).K
    tensor([[10.,  0., 30.],
            [ 0., 20., 20.],
            [ 0.,  0.,  1.]])
    """
    require_choice("from_pytorch3d_fov", "canvas", canvas, CANVASES)
    require_trailing("from_pytorch3d_fov", "image_size", image_size, "2")
    fov = camera.fov if getattr(camera, "degrees", True) else torch.rad2deg(camera.fov)
    size = image_size.to(fov.dtype)
    height, width = size.unbind(-1)
    side = height if canvas == "square" else torch.minimum(height, width)
    fy = side / (2 * torch.deg2rad(fov / 2).tan())
    fx = fy / camera.aspect_ratio * (width / height if canvas == "square" else 1.0)
    fx, fy = torch.broadcast_tensors(fx, fy)
    centre = (size.flip(-1) / 2).expand(*fx.shape, 2)[..., None]
    last_row = torch.tensor([0.0, 0.0, 1.0]).to(fx).expand(*fx.shape, 1, 3)
    K = torch.cat((torch.cat((torch.stack((fx, fy), -1).diag_embed(), centre), -1), last_row), -2)
    flip = axis_flip(camera.R)
    return OpenCVCamera(K, (camera.R * flip).mT, camera.T * flip)
