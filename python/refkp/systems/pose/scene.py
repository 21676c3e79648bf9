"""What a picture with known objects holds: the form that shards, BOP folders and the generator share."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from refkp._checks import fail


class PictureKey(NamedTuple):
    """Which picture of a set, as text "000003_000012".

    >>> str(PictureKey(3, 12)), PictureKey.parse("000003_000012") == (3, 12)
    ('000003_000012', True)
    """

    scene_id: int
    image_id: int

    def __str__(self) -> str:
        return f"{self.scene_id:06d}_{self.image_id:06d}"

    @classmethod
    def parse(cls, text: str) -> PictureKey:
        """The key of a text SCENE_IMAGE.

        Raises:
            ValueError: another form.
        """
        scene, _, image = text.partition("_")
        if not (scene.isdecimal() and image.isdecimal()):
            fail("PictureKey.parse", "text", "SCENE_IMAGE, two numbers", repr(text))
        return cls(int(scene), int(image))


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

    key: PictureKey
    rgb: Tensor  # uint8 [3,H,W]
    depth: Tensor | None  # float32 [H,W], millimetres along z, 0 where unknown; None if there is none
    K: Tensor  # float64 [3,3]
    instances: tuple[Instance, ...]
