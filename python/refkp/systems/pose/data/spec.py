"""What made-up pictures show; nothing here needs torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from refkp._checks import fail, require_choice


@dataclass(frozen=True)
class GeneratorSpec:
    """What made-up pictures show.

    Args:
        num_scenes: pictures, each a scene of its own.
        size: (height, width) of the pictures.
        hfov_deg: horizontal field of view of the camera; pixels are square, the axis is in the middle.
        distance: limits of the first object's distance, in its diameters; the nearest at least 1.
        max_inplane_deg: objects are turned about the optical axis by up to this, either way.
        max_objects: one to this many objects; the same one may come twice.
        max_occluders: up to this many other things, each in front of an object, that have no label.
        noise: largest standard deviation of the sensor's noise, as a part of white.
        samples: rays per pixel along either axis for colours.
        scenes_per_shard: pictures in a shard.
        image_format: of the pictures in a shard.
        depth_scale: millimetres per step of the depth maps.
    """

    num_scenes: int
    size: tuple[int, int] = (480, 640)
    hfov_deg: float = 58.4
    distance: tuple[float, float] = (2.0, 5.0)
    max_inplane_deg: float = 180.0
    max_objects: int = 3
    max_occluders: int = 1
    noise: float = 0.02
    samples: int = 2
    scenes_per_shard: int = 50
    image_format: Literal["jpg", "png"] = "jpg"
    depth_scale: float = 0.1

    def __post_init__(self) -> None:
        for name in ("num_scenes", "max_objects", "samples", "scenes_per_shard"):
            if getattr(self, name) < 1:
                fail("GeneratorSpec", name, "at least 1", getattr(self, name))
        if self.max_occluders < 0 or self.noise < 0:
            fail("GeneratorSpec", "max_occluders, noise", "not negative", (self.max_occluders, self.noise))
        if min(self.size) < 16:
            fail("GeneratorSpec", "size", "at least 16 pixels either way", self.size)
        if not 1 <= self.distance[0] <= self.distance[1]:
            fail("GeneratorSpec", "distance", "1 <= nearest <= farthest, in diameters", self.distance)
        if not 0 < self.hfov_deg < 180 or not 0 <= self.max_inplane_deg <= 180:
            got = (self.hfov_deg, self.max_inplane_deg)
            fail("GeneratorSpec", "hfov_deg, max_inplane_deg", "inside (0,180) and in [0,180]", got)
        require_choice("GeneratorSpec", "image_format", self.image_format, ("jpg", "png"))

    @property
    def K(self) -> NDArray[np.float64]:
        """float64 [3,3]."""
        height, width = self.size
        focal = width / 2 / np.tan(np.radians(self.hfov_deg) / 2)
        return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
