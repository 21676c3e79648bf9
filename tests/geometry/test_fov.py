"""Field-of-view cameras: exact for centred principal points, and off by as much as they say for others."""

from __future__ import annotations

import pytest
import torch

from refkp.geometry import cameras, fov
from refkp.verify.originals import pytorch3d_cameras
from tests.geometry.test_cameras import Scene, scene

__all__ = ["scene"]  # the fixture


@pytest.mark.parametrize("canvas", ["native", "square"])
def test_field_of_view_is_exact_for_centred_principal_points(scene: Scene, canvas: str) -> None:
    K = scene.K.clone()
    K[:, :2, 2] = scene.image_size.flip(-1) / 2
    uv, _ = cameras.project(scene.points, K, scene.R, scene.t)
    fov_deg, aspect, _ = fov.field_of_view(K, scene.image_size, canvas=canvas)
    camera = cameras.pytorch3d_camera(K, scene.R, scene.t, scene.image_size)
    ndc = pytorch3d_cameras.fov_ndc(
        pytorch3d_cameras.world_to_view(scene.points, camera.R, camera.T), fov_deg, aspect
    )
    if canvas == "native":
        torch.testing.assert_close(pytorch3d_cameras.ndc_to_screen(ndc, scene.image_size)[..., :2], uv)
    else:
        side = torch.tensor([[256, 256]])
        drawn = pytorch3d_cameras.normalise_pixels(pytorch3d_cameras.ndc_to_screen(ndc, side)[..., :2], side)
        torch.testing.assert_close(drawn, pytorch3d_cameras.normalise_pixels(uv, scene.image_size))


def test_field_of_view_misses_by_the_principal_point_offset(scene: Scene) -> None:
    uv, _ = cameras.project(scene.points, scene.K, scene.R, scene.t)
    fov_deg, aspect, offset_px = fov.field_of_view(scene.K, scene.image_size)
    camera = cameras.pytorch3d_camera(*scene[1:])
    ndc = pytorch3d_cameras.fov_ndc(
        pytorch3d_cameras.world_to_view(scene.points, camera.R, camera.T), fov_deg, aspect
    )
    offset = scene.K[:, None, :2, 2] - scene.image_size.flip(-1)[:, None] / 2
    drawn = pytorch3d_cameras.ndc_to_screen(ndc, scene.image_size)[..., :2]
    torch.testing.assert_close(uv - drawn, offset.expand_as(uv))
    torch.testing.assert_close(offset_px, offset[:, 0])


def centred(scene: Scene) -> torch.Tensor:
    K = scene.K.clone()
    K[:, :2, 2] = scene.image_size.flip(-1) / 2
    return K


@pytest.mark.parametrize("canvas", ["native", "square"])
def test_conversion_comes_back(scene: Scene, canvas: str) -> None:
    K = centred(scene)
    camera = fov.pytorch3d_fov_camera(K, scene.R, scene.t, scene.image_size, canvas=canvas)
    back = fov.from_pytorch3d_fov(camera, scene.image_size, canvas=canvas)
    for got, want in zip(back, (K, scene.R, scene.t), strict=True):
        torch.testing.assert_close(got, want)


def test_a_fov_in_radians_is_understood(scene: Scene) -> None:
    class InRadians:
        degrees = False
        R, T = scene.R, scene.t
        fov = torch.full((3,), torch.pi / 2, dtype=torch.float64)
        aspect_ratio = torch.ones(3, dtype=torch.float64)

    K = fov.from_pytorch3d_fov(InRadians(), torch.tensor([40, 60])).K
    torch.testing.assert_close(K[:, 0, 0], torch.full((3,), 20.0, dtype=torch.float64))


def test_the_lost_principal_point_is_an_error_unless_accepted(scene: Scene) -> None:
    with pytest.raises(ValueError, match=r"to_pytorch3d_fov: `K` must be centred .* an offset of 60 px"):
        fov.to_pytorch3d_fov(*scene[1:])
    accepted = fov.pytorch3d_fov_camera(*scene[1:], max_offset_px=60.0)
    torch.testing.assert_close(accepted.fov, fov.field_of_view(scene.K, scene.image_size).fov_deg)


def test_errors(scene: Scene) -> None:
    with pytest.raises(ValueError, match="field_of_view: `canvas` must be one of 'native', 'square'"):
        fov.field_of_view(scene.K, scene.image_size, canvas="round")
    skewed = centred(scene)
    skewed[0, 0, 1] = 1
    with pytest.raises(ValueError, match="to_pytorch3d_fov: `K` must be without skew"):
        fov.to_pytorch3d_fov(skewed, *scene[2:])


def test_gradcheck(scene: Scene) -> None:
    inputs = [tensor.clone().requires_grad_() for tensor in (centred(scene), scene.R, scene.t)]
    no_skew = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda K, R, t: tuple(
            fov.pytorch3d_fov_camera(K * no_skew, R, t, scene.image_size, max_offset_px=1.0)
        ),
        inputs,
    )
