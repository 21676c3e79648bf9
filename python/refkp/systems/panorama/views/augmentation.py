"""Random rotations of all tiles of a panorama together (spec panorama 5).

The original shifts the panorama in a circle; turning the tiles instead is the same about the vertical, costs
nothing, and also works about any other axis. The correspondences between tiles stay as they are.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from refkp._checks import require_choice
from refkp.geometry import sphere

Augmentation = Literal["none", "yaw", "full"]


def draw_rig_rotations(
    augmentation: Augmentation, count: int, *, generator: torch.Generator | None = None
) -> Tensor:
    """`world_from_rig` of `count` samples, float32 [count,3,3]: the identity, a random turn about the
    vertical, or a random rotation, uniform over all of them.

    >>> draw_rig_rotations("none", 1)[0].tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    require_choice("draw_rig_rotations", "augmentation", augmentation, get_args(Augmentation))
    if augmentation == "full":
        return sphere.random_rotation(count, generator=generator).float()
    if augmentation == "yaw":
        yaw = 360 * torch.rand(count, dtype=torch.float64, generator=generator)
        return sphere.view_rotation(yaw).float()
    return torch.eye(3).repeat(count, 1, 1)
