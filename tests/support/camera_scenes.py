"""Cameras and pictures of camera_warp whose results are known."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def camera(focal: float, width: int, height: int, *coefficients: float) -> dict[str, Tensor]:
    """One camera that looks at the middle, and the identity as affine map; float64."""
    K = [[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]]
    lens = [*coefficients, *[0.0] * (5 - len(coefficients))]
    return {
        "intrinsics": torch.tensor([K], dtype=torch.float64),
        "distortion": torch.tensor([lens], dtype=torch.float64),
        "affine": torch.eye(2, 3, dtype=torch.float64)[None],
    }


def places(height: int, width: int) -> Tensor:
    """[1,2,H,W] float64: x and y of pixel centres in edge coordinates; bilinear is exact on them."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return torch.stack([x, y])[None].double()


def turned_view(
    angle_deg: float, across: float, down: float, middle: tuple[float, float], size: tuple[int, int]
) -> Tensor:
    """[1,2,3]: turns about the middle of a picture, scales, and puts the middle into that of the output."""
    cosine, sine = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    linear = torch.tensor(
        [[across * cosine, -across * sine], [down * sine, down * cosine]], dtype=torch.float64
    )
    shift = (
        torch.tensor([size[1] / 2, size[0] / 2], dtype=torch.float64) - linear @ torch.tensor(middle).double()
    )
    return torch.cat([linear, shift[:, None]], dim=1)[None]
