"""Square crops of objects with all that is known of them, and the batch that the model reads."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Views(NamedTuple):
    """Crops of objects (... stands for any leading axes), all of one size.

    A pixel (row i, column j) has the image point (j + 0.5, i + 0.5); `K` holds for the crop.
    """

    images: Tensor  # float32 [...,3,H,W] in [0,1], 0 outside the mask
    masks: Tensor  # bool [...,H,W]
    depth: Tensor  # float32 [...,H,W], millimetres along z, 0 where unknown or outside the mask
    K: Tensor  # float64 [...,3,3]
    cam_from_obj: Tensor  # float64 [...,4,4], millimetres

    def to(self, device: torch.device | str) -> Views:
        """The same views on `device`."""
        return Views(*(tensor.to(device) for tensor in self))

    def select(self, index: Tensor | slice | int) -> Views:
        """The views at `index` of the first axis."""
        return Views(*(tensor[index] for tensor in self))

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.masks.shape[-2], self.masks.shape[-1]


class PoseBatch(NamedTuple):
    """B objects, each seen in a query crop and in S of its templates."""

    query: Views  # leading axes [B]
    templates: Views  # leading axes [B,S]
    template_index: Tensor  # int64 [B,S], which view of the template set
    is_positive: Tensor  # bool [B,S]; False: chosen for seeing another side
    ref_direction: (
        Tensor  # float32 [B,3], unit direction from the object to the camera of the anchor template
    )
    obj_id: Tensor  # int64 [B]
    diameter: Tensor  # float32 [B], millimetres
    keys: tuple[str, ...]  # one per sample: picture and instance, for messages

    def to(self, device: torch.device | str) -> PoseBatch:
        """The same batch on `device`; Lightning calls this."""
        moved = {
            name: value.to(device) for name, value in self._asdict().items() if not isinstance(value, tuple)
        }
        return self._replace(query=self.query.to(device), templates=self.templates.to(device), **moved)
