"""PyTorch3D's own conventions: fields of view, NDC and screen coordinates."""

from __future__ import annotations

import pytest
import torch

from refkp.geometry import cameras
from refkp.verify.originals import pytorch3d_cameras
from tests.geometry.test_cameras import Scene, scene

__all__ = ["scene"]  # the fixture


@pytest.mark.parametrize("canvas", ["native", "square"])
def test_field_of_view_is_exact_for_centred_principal_points(scene: Scene, canvas: str) -> None:
    K = scene.K.clone()
    K[:, :2, 2] = scene.image_size.flip(-1) / 2
    uv, _ = cameras.project(scene.points, K, scene.R, scene.t)
    fov_deg, aspect = pytorch3d_cameras.field_of_view(K, scene.image_size, canvas=canvas)
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
    fov_deg, aspect = pytorch3d_cameras.field_of_view(scene.K, scene.image_size)
    camera = cameras.pytorch3d_camera(*scene[1:])
    ndc = pytorch3d_cameras.fov_ndc(
        pytorch3d_cameras.world_to_view(scene.points, camera.R, camera.T), fov_deg, aspect
    )
    offset = scene.K[:, None, :2, 2] - scene.image_size.flip(-1)[:, None] / 2
    drawn = pytorch3d_cameras.ndc_to_screen(ndc, scene.image_size)[..., :2]
    torch.testing.assert_close(uv - drawn, offset.expand_as(uv))


def test_convention_ndc_x_is_left_and_y_is_up() -> None:
    corners = pytorch3d_cameras.ndc_to_screen(
        torch.tensor([[1.0, 1.0], [-1.0, -1.0]]), torch.tensor([480, 480])
    )
    assert corners.tolist() == [[0.0, 0.0], [480.0, 480.0]]  # NDC +x is left, +y is up


def test_convention_shorter_side_spans_ndc() -> None:
    corner = pytorch3d_cameras.ndc_to_screen(torch.tensor([[2.0, 1.0]]), torch.tensor([240, 480]))
    assert corner.tolist() == [[0.0, 0.0]]


def test_errors(scene: Scene) -> None:
    with pytest.raises(ValueError, match="field_of_view: `canvas` must be one of 'native', 'square'"):
        pytorch3d_cameras.field_of_view(scene.K, scene.image_size, canvas="round")
    with pytest.raises(ValueError, match=r"world_to_view: `R` must be \[...,3,3\]"):
        pytorch3d_cameras.world_to_view(scene.points, scene.t[0], scene.t)
