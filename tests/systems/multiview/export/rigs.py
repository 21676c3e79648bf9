"""Cameras for tests: none like another, with lenses, around what they look at."""

from __future__ import annotations

import math

import torch

from refkp.geometry.rig import Rig
from refkp.geometry.rotations import axis_angle_to_matrix
from refkp.systems.multiview.calibration import Calibration


def made_up_calibration(target: torch.Tensor | None = None, distance: float = 600.0) -> Calibration:
    """Three cameras at a distance of a point [3] of the world."""
    target = torch.zeros(3) if target is None else target
    around = torch.tensor([[0.3, 0.1, 0.2], [0.1, 2.1, math.pi / 7], [1.2, -2.0, 0.3]]).double()
    R = axis_angle_to_matrix(around)
    t = torch.tensor([1 / 3, -2 / 7, distance]).double() - R @ target.double()
    K = torch.tensor([[1010.1, 0.3, 655.1], [0.0, 1008.7, 489.3], [0.0, 0.0, 1.0]]).double().repeat(3, 1, 1)
    K[1, 0, 0] = 900 + 1 / 3
    distortion = torch.tensor(
        [[-0.2, 0.05, 1e-3, -5e-4, 1e-4], [0.0] * 5, [-0.1, 0.0, 0.0, 0.0, 0.0]]
    ).double()
    sizes = torch.tensor([[1280, 1024], [640, 513], [1280, 960]])
    return Calibration(("a", "b", "c"), Rig(K, distortion, R, t), sizes)
