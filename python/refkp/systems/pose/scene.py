"""What a picture with known objects holds: the form that shards, BOP folders and the generator share."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Instance(NamedTuple):
    """One object in a picture."""

    obj_id: int
    cam_from_obj: Tensor  # float64 [4,4], millimetres
    mask: Tensor  # bool [H,W], the visible pixels
    box: tuple[int, int, int, int]  # x0, y0, x1, y1 of the visible pixels, the last two exclusive
    visible_fraction: float  # visible pixels / pixels without occlusion, in [0,1]
    full_box: tuple[int, int, int, int] | None = None  # as `box` without occlusion, may leave the picture


class Scene(NamedTuple):
    """One picture, its camera, and the objects in it."""

    key: str  # "SCENE_IMAGE", six digits each
    rgb: Tensor  # uint8 [3,H,W]
    depth: Tensor | None  # float32 [H,W], millimetres along z, 0 where unknown; None if there is none
    K: Tensor  # float64 [3,3]
    instances: tuple[Instance, ...]

    @property
    def scene_id(self) -> int:
        """The first half of the key."""
        return int(self.key.split("_")[0])

    @property
    def image_id(self) -> int:
        """The second half of the key."""
        return int(self.key.split("_")[1])
