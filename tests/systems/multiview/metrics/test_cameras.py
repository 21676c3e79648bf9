"""Errors of cameras against changes that were put in."""

from __future__ import annotations

import math

import pytest
import torch

from refkp.geometry.cameras import OpenCVCamera
from refkp.geometry.rotations import axis_angle_to_matrix
from refkp.systems.multiview.metrics.cameras import camera_errors


def test_errors_are_the_turn_the_shift_and_the_focal_length_that_were_put_in() -> None:
    K = torch.tensor([[100.0, 0.0, 32.0], [0.0, 200.0, 24.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    R = axis_angle_to_matrix(torch.tensor([0.3, 1.0, -0.2], dtype=torch.float64))
    centre = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    turn = axis_angle_to_matrix(torch.tensor([0.0, math.radians(5), 0.0], dtype=torch.float64))
    moved = centre + torch.tensor([0.0, 3.0, 4.0])
    other = K.clone()
    other[0, 0], other[1, 1] = 104.0, 196.0
    estimate = OpenCVCamera(other, turn @ R, -(turn @ R) @ moved)
    errors = camera_errors(estimate, OpenCVCamera(K, R, -R @ centre))
    assert float(errors.rotation_deg) == pytest.approx(5)
    assert float(errors.centre) == pytest.approx(5)
    assert float(errors.focal_percent) == pytest.approx(3)
