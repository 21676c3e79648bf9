"""PyTorch3D's own classes draw what refkp's cameras draw; run by the nox session `pytorch3d`.

Its extension wants a CUDA build of torch; cameras and rotations do not use it, so a stub stands in where it
does not load.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types

import pytest
import torch
from torch import Tensor

from refkp.geometry import cameras, fov, rotations
from refkp.verify.originals import pytorch3d_cameras
from tests.geometry.test_cameras import Scene, scene

__all__ = ["scene"]  # the fixture

if importlib.util.find_spec("pytorch3d") is None:
    pytest.skip("needs the extra `pytorch3d`", allow_module_level=True)


class _Stub(types.ModuleType):
    """Has every name, and each is None."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


try:
    importlib.import_module("pytorch3d._C")
except ImportError:
    sys.modules["pytorch3d._C"] = _Stub("pytorch3d._C")

renderer = importlib.import_module("pytorch3d.renderer")
transforms = importlib.import_module("pytorch3d.transforms")
converter = importlib.import_module("pytorch3d.utils")


def single(scene: Scene) -> Scene:
    """In float32, which PyTorch3D's cameras make of everything."""
    return Scene(*(tensor.float() if tensor.is_floating_point() else tensor for tensor in scene))


def on_screen(camera: object, scene: Scene) -> Tensor:
    return camera.transform_points_screen(scene.points, image_size=scene.image_size)  # type: ignore[attr-defined]


def test_perspective_cameras_draw_the_same_pixels(scene: Scene) -> None:
    scene = single(scene)
    camera = cameras.to_pytorch3d(*scene[1:])
    assert isinstance(camera, renderer.PerspectiveCameras)
    seen = cameras.project(scene.points, scene.K, scene.R, scene.t)
    drawn = on_screen(camera, scene)
    torch.testing.assert_close(drawn[..., :2], seen.uv, atol=5e-4, rtol=0)
    torch.testing.assert_close(drawn[..., 2], 1 / seen.depth)


def test_perspective_cameras_come_back_in_ndc_and_in_pixels(scene: Scene) -> None:
    scene = single(scene)
    plain = cameras.pytorch3d_camera(*scene[1:])
    in_pixels = renderer.PerspectiveCameras(
        R=plain.R,
        T=plain.T,
        focal_length=scene.K.diagonal(dim1=-2, dim2=-1)[:, :2],
        principal_point=scene.K[:, :2, 2],
        image_size=scene.image_size,
        in_ndc=False,
    )
    for camera in (cameras.to_pytorch3d(*scene[1:]), in_pixels):
        for got, want in zip(cameras.from_pytorch3d(camera), (scene.K, scene.R, scene.t), strict=True):
            torch.testing.assert_close(got, want, atol=1e-3, rtol=1e-5)


def test_pytorch3d_converts_opencv_cameras_to_the_same(scene: Scene) -> None:
    scene = single(scene)
    theirs = converter.cameras_from_opencv_projection(scene.R, scene.t, scene.K, scene.image_size)
    ours = cameras.pytorch3d_camera(*scene[1:])
    for name in ("R", "T", "focal_length", "principal_point"):
        torch.testing.assert_close(getattr(theirs, name), getattr(ours, name), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("canvas", ["native", "square"])
def test_fov_cameras_draw_the_same_pixels(scene: Scene, canvas: str) -> None:
    scene = single(scene)
    K = scene.K.clone()
    K[:, :2, 2] = scene.image_size.flip(-1) / 2
    camera = fov.to_pytorch3d_fov(K, scene.R, scene.t, scene.image_size, canvas=canvas)
    assert isinstance(camera, renderer.FoVPerspectiveCameras)
    uv = cameras.project(scene.points, K, scene.R, scene.t).uv
    if canvas == "native":
        torch.testing.assert_close(on_screen(camera, scene)[..., :2], uv, atol=5e-4, rtol=0)
    else:
        side = torch.tensor([[256, 256]] * 3)
        drawn = on_screen(camera, scene._replace(image_size=side))[..., :2] / 256
        torch.testing.assert_close(drawn, uv / scene.image_size.flip(-1)[:, None], atol=2e-6, rtol=0)
    back = fov.from_pytorch3d_fov(camera, scene.image_size, canvas=canvas)
    for got, want in zip(back, (K, scene.R, scene.t), strict=True):
        torch.testing.assert_close(got, want, atol=1e-3, rtol=1e-5)


def test_view_ndc_and_screen_transforms_are_theirs(scene: Scene) -> None:
    scene = single(scene)
    camera = cameras.to_pytorch3d(*scene[1:])
    plain = cameras.pytorch3d_camera(*scene[1:])
    view = pytorch3d_cameras.world_to_view(scene.points, plain.R, plain.T)
    torch.testing.assert_close(camera.get_world_to_view_transform().transform_points(scene.points), view)
    ndc = pytorch3d_cameras.perspective_ndc(view, plain.focal_length, plain.principal_point)
    torch.testing.assert_close(camera.transform_points_ndc(scene.points), ndc, atol=1e-5, rtol=1e-5)
    screen = pytorch3d_cameras.ndc_to_screen(ndc, scene.image_size)
    torch.testing.assert_close(on_screen(camera, scene), screen, atol=5e-4, rtol=0)


def test_rotations_are_theirs() -> None:
    generator = torch.Generator().manual_seed(3)
    axis_angle = torch.randn(50, 3, generator=generator, dtype=torch.float64)
    six = torch.randn(50, 6, generator=generator, dtype=torch.float64)
    quaternion = torch.randn(50, 4, generator=generator, dtype=torch.float64)
    matrix = rotations.axis_angle_to_matrix(axis_angle)
    pairs = (
        (matrix, transforms.axis_angle_to_matrix(axis_angle)),
        (rotations.quaternion_to_matrix(quaternion), transforms.quaternion_to_matrix(quaternion)),
        (rotations.rotation_6d_to_matrix(six), transforms.rotation_6d_to_matrix(six)),
        (rotations.matrix_to_rotation_6d(matrix), transforms.matrix_to_rotation_6d(matrix)),
        (
            rotations.matrix_to_quaternion(matrix),
            transforms.standardize_quaternion(transforms.matrix_to_quaternion(matrix)),
        ),
    )
    for got, want in pairs:
        torch.testing.assert_close(got, want)
