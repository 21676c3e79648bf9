"""Templates in memory, in few bytes, so that training does not decode the same pictures again and again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from refkp._checks import fail
from refkp.systems.pose.views import Views


class TemplateSource(Protocol):
    """Where templates come from: a store on disk, or meshes."""

    @property
    def obj_ids(self) -> tuple[int, ...]:
        """The objects, in ascending order."""

    def poses(self, obj_id: int) -> Tensor:
        """float64 [n,4,4], object to camera, millimetres."""

    def views(self, obj_id: int, index: Sequence[int] | Tensor, size: int) -> Views:
        """Views `index` [k] of an object as square crops, `size` pixels wide."""


class _Packed(NamedTuple):
    """One view: 6 bytes per pixel instead of 17."""

    image: Tensor  # uint8 [3,H,W]
    mask: Tensor  # bool [H,W]
    relief: Tensor  # float16 [H,W], depth minus its middle: steps of 0.06 mm at most within 128 mm
    middle: Tensor  # float32, halfway between the least and the largest depth
    K: Tensor
    cam_from_obj: Tensor


class TemplateCache:
    """Views of a source at one size, the least recently used dropped beyond a budget.

    Args:
        store: the templates.
        size: side of the views in pixels.
        byte_budget: what the views may take, in each process.
    """

    def __init__(self, store: TemplateSource, size: int, byte_budget: int = 2 << 30) -> None:
        if byte_budget < 0:
            fail("TemplateCache", "byte_budget", "at least 0", byte_budget)
        self.store, self.size, self.byte_budget = store, size, byte_budget
        self.num_bytes = 0
        self._packed: OrderedDict[tuple[int, int], _Packed] = OrderedDict()

    def views(self, obj_id: int, index: Tensor) -> Views:
        """The views `index` [k] of an object, as the store gives them but for rounding."""
        numbers = index.tolist()
        missing = [number for number in dict.fromkeys(numbers) if (obj_id, number) not in self._packed]
        fresh: dict[int, _Packed] = {}
        if missing:
            views = self.store.views(obj_id, torch.tensor(missing), self.size)
            fresh = {number: _pack(views.select(place)) for place, number in enumerate(missing)}
        packed = [fresh[number] if number in fresh else self._packed[obj_id, number] for number in numbers]
        for number in numbers:
            self._keep((obj_id, number), fresh.get(number))
        return Views(*(torch.stack(parts) for parts in zip(*map(_unpack, packed), strict=True)))

    def _keep(self, place: tuple[int, int], packed: _Packed | None) -> None:
        """Put a view at the end of the line, and drop from its front."""
        if packed is not None and place not in self._packed:
            self._packed[place] = packed
            self.num_bytes += _num_bytes(packed)
        if place in self._packed:
            self._packed.move_to_end(place)
        while self.num_bytes > self.byte_budget:
            self.num_bytes -= _num_bytes(self._packed.popitem(last=False)[1])


def _pack(view: Views) -> _Packed:
    known = view.depth > 0
    low, high = torch.where(known, view.depth, torch.inf).amin(), view.depth.amax()
    middle = torch.where(known.any(), (low + high) / 2, 0.0)
    relief = torch.where(known, view.depth - middle, torch.inf)
    image = (255 * view.images).round().to(torch.uint8)
    return _Packed(
        image, view.masks.clone(), relief.half(), middle, view.K.clone(), view.cam_from_obj.clone()
    )


def _unpack(packed: _Packed) -> Views:
    relief = packed.relief.float()
    depth = torch.where(relief.isfinite(), relief + packed.middle, 0.0)
    return Views(packed.image.float() / 255, packed.mask, depth, packed.K, packed.cam_from_obj)


def _num_bytes(packed: _Packed) -> int:
    return sum(tensor.nbytes for tensor in packed)
