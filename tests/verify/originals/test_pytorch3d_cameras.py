"""PyTorch3D's own conventions: NDC and screen coordinates."""

from __future__ import annotations

import pytest
import torch

from refkp.verify.originals import pytorch3d_cameras
from tests.geometry.test_cameras import Scene, scene

__all__ = ["scene"]  # the fixture


def test_convention_ndc_x_is_left_and_y_is_up() -> None:
    corners = pytorch3d_cameras.ndc_to_screen(
        torch.tensor([[1.0, 1.0], [-1.0, -1.0]]), torch.tensor([480, 480])
    )
    assert corners.tolist() == [[0.0, 0.0], [480.0, 480.0]]  # NDC +x is left, +y is up


def test_convention_shorter_side_spans_ndc() -> None:
    corner = pytorch3d_cameras.ndc_to_screen(torch.tensor([[2.0, 1.0]]), torch.tensor([240, 480]))
    assert corner.tolist() == [[0.0, 0.0]]


def test_errors(scene: Scene) -> None:
    with pytest.raises(ValueError, match=r"world_to_view: `R` must be \[...,3,3\]"):
        pytorch3d_cameras.world_to_view(scene.points, scene.t[0], scene.t)
