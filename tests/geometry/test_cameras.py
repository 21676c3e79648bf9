"""Cameras: the OpenCV and PyTorch3D routes draw the same pixels, both ways, for any image shape."""

from __future__ import annotations

import sys
import types
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from refkp.geometry import cameras
from refkp.geometry.rotations import quaternion_to_matrix
from refkp.verify.originals import pytorch3d_cameras


class Scene(NamedTuple):
    points: Tensor  # [7,3]
    K: Tensor  # [V,3,3]
    R: Tensor  # [V,3,3]
    t: Tensor  # [V,3]
    image_size: Tensor  # [V,2]


@pytest.fixture
def scene() -> Scene:
    """Square, landscape and portrait views with unequal focal lengths and off-centre principal points."""
    generator = torch.Generator().manual_seed(5)
    points = torch.randn(7, 3, generator=generator, dtype=torch.float64)
    image_size = torch.tensor([[480, 480], [480, 640], [1080, 720]])
    rotation = quaternion_to_matrix(torch.randn(3, 4, generator=generator, dtype=torch.float64))
    translation = torch.tensor([[0.1, -0.2, 6.0], [0.5, 0.4, 7.0], [0.0, 0.3, 8.0]], dtype=torch.float64)
    K = torch.eye(3, dtype=torch.float64).repeat(3, 1, 1)
    K[:, 0, 0] = torch.tensor([500.0, 620.0, 900.0])
    K[:, 1, 1] = torch.tensor([510.0, 600.0, 950.0])
    K[:, :2, 2] = image_size.flip(-1) / 2 + torch.tensor([[11.0, -7.0], [-30.0, 4.0], [2.5, 60.0]])
    return Scene(points, K, rotation, translation, image_size)


def screen_of(camera: cameras.PyTorch3DCamera, points: Tensor) -> Tensor:
    view = pytorch3d_cameras.world_to_view(points, camera.R, camera.T)
    ndc = pytorch3d_cameras.perspective_ndc(view, camera.focal_length, camera.principal_point)
    return pytorch3d_cameras.ndc_to_screen(ndc, camera.image_size)


def test_convention_a_skewed_camera_moves_what_is_below_to_the_right() -> None:
    K = torch.tensor([[100.0, 8.0, 32.0], [0.0, 90.0, 24.0], [0.0, 0.0, 1.0]])
    points = torch.tensor([[0.1, 0.5, 2.0]])
    uv = cameras.project(points, K, torch.eye(3), torch.zeros(3)).uv
    torch.testing.assert_close(uv, torch.tensor([[32 + (10 + 4) / 2, 24 + 45 / 2]]))


@pytest.mark.parametrize("size", [(48, 64), (64, 48)])
def test_convention_half_of_the_shorter_side_is_one_in_ndc(size: tuple[int, int]) -> None:
    focal, centre = torch.tensor([[120.0, 72.0]]), torch.tensor([[20.0, 36.0]])
    got = cameras.intrinsics_to_ndc(focal, centre, torch.tensor([size]))
    middle = torch.tensor([[size[1] / 2, size[0] / 2]])
    for value, want in zip(got, (focal / 24, (middle - centre) / 24), strict=True):
        torch.testing.assert_close(value, want)


def test_pytorch3d_draws_the_same_pixels(scene: Scene) -> None:
    uv, depth = cameras.project(scene.points, scene.K, scene.R, scene.t)
    screen = screen_of(cameras.pytorch3d_camera(*scene[1:]), scene.points)
    torch.testing.assert_close(screen[..., :2], uv, atol=1e-9, rtol=0)
    torch.testing.assert_close(screen[..., 2], 1 / depth)


def test_conversion_comes_back(scene: Scene) -> None:
    back = cameras.from_pytorch3d(cameras.pytorch3d_camera(*scene[1:]))
    for got, want in zip(back, (scene.K, scene.R, scene.t), strict=True):
        torch.testing.assert_close(got, want)


class FakePerspectiveCameras:
    """Stands for PyTorch3D's class where it is not installed: the same attributes and constructor arguments."""

    principal_point: Tensor

    def __init__(self, *, in_ndc: bool, device: torch.device, **tensors: Tensor) -> None:
        self._in_ndc = in_ndc
        self.device = device
        self.__dict__.update(tensors)

    def in_ndc(self) -> bool:
        return self._in_ndc


def test_with_pytorch3d_installed_its_own_class_is_returned(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = cameras.pytorch3d_camera(*scene[1:])
    package, renderer = types.ModuleType("pytorch3d"), types.ModuleType("pytorch3d.renderer")
    package.__spec__ = types.SimpleNamespace()  # type: ignore[assignment]
    renderer.PerspectiveCameras = FakePerspectiveCameras  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pytorch3d", package)
    monkeypatch.setitem(sys.modules, "pytorch3d.renderer", renderer)
    camera = cameras.to_pytorch3d(*scene[1:])
    assert isinstance(camera, FakePerspectiveCameras)
    assert camera.in_ndc()
    assert torch.equal(camera.principal_point, plain.principal_point)
    torch.testing.assert_close(cameras.from_pytorch3d(camera).K, scene.K)


def test_from_pytorch3d_accepts_pixel_intrinsics(scene: Scene) -> None:
    plain = cameras.pytorch3d_camera(*scene[1:])
    in_pixels = FakePerspectiveCameras(
        in_ndc=False,
        device=torch.device("cpu"),
        R=plain.R,
        T=plain.T,
        focal_length=torch.stack((scene.K[:, 0, 0], scene.K[:, 1, 1]), dim=-1),
        principal_point=scene.K[:, :2, 2],
        image_size=scene.image_size,
    )
    torch.testing.assert_close(cameras.from_pytorch3d(in_pixels).K, scene.K)


def test_unprojection_undoes_projection(scene: Scene) -> None:
    uv, depth = cameras.project(scene.points, scene.K, scene.R, scene.t)
    K, R, t = scene.K[:, None], scene.R[:, None], scene.t[:, None]
    back = cameras.unproject(uv, depth, K, R, t)
    torch.testing.assert_close(back, scene.points.expand_as(back))


def test_projection_is_invariant_to_the_world_frame(scene: Scene) -> None:
    frame = quaternion_to_matrix(torch.tensor([0.3, -0.5, 0.1, 0.8], dtype=torch.float64))
    moved = cameras.project(scene.points @ frame.mT, scene.K, scene.R @ frame.mT, scene.t)
    torch.testing.assert_close(moved.uv, cameras.project(scene.points, scene.K, scene.R, scene.t).uv)


def test_gradcheck(scene: Scene) -> None:
    inputs = [tensor.clone().requires_grad_() for tensor in (scene.points, scene.K, scene.R, scene.t)]
    assert torch.autograd.gradcheck(cameras.project, inputs)
    no_skew = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [0.0, 0.0, 1.0]], dtype=torch.float64)

    def converted(K: Tensor, R: Tensor, t: Tensor) -> tuple[Tensor, ...]:
        return cameras.pytorch3d_camera(K * no_skew, R, t, scene.image_size)[:4]

    assert torch.autograd.gradcheck(converted, inputs[1:])


def test_convention_opencv_axes_and_edge_coordinates() -> None:
    K = torch.tensor([[100.0, 0.0, 320.0], [0.0, 100.0, 240.0], [0.0, 0.0, 1.0]])
    points = torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, 2.0], [0.0, 0.0, -1.0]])
    uv, depth = cameras.project(points, K, torch.eye(3), torch.zeros(3))
    assert uv[:2].tolist() == [[370.0, 240.0], [320.0, 290.0]]  # x right, y down
    assert depth.tolist() == [2.0, 2.0, -1.0]


def test_errors(scene: Scene) -> None:
    skewed = scene.K.clone()
    skewed[0, 0, 1] = 3
    with pytest.raises(ValueError, match="to_pytorch3d: `K` must be without skew"):
        cameras.to_pytorch3d(skewed, *scene[2:])
    with pytest.raises(ValueError, match=r"project: `points` must be \[...,N,3\]; got \[3\]"):
        cameras.project(scene.points[0], scene.K, scene.R, scene.t)
    with pytest.raises(ValueError, match=r"project: `t` must be \[...,3\]; got \[3,4\]"):
        cameras.project(scene.points, scene.K, scene.R, torch.zeros(3, 4))
