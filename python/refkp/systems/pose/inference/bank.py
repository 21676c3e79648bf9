"""What is kept of the templates of an object, and a cache of it over objects. Source: spec pose 6.4."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from refkp._checks import fail, require_finite
from refkp.systems.pose.model.vpog import Vpog
from refkp.systems.pose.views import Views

#: 162 templates of the `base` model in half precision, with their depth, take about 82 MB.
DEFAULT_BUDGET_BYTES = 2 * 1024**3


class TemplateBank(NamedTuple):
    """The templates of one object without their pictures: features, and what lifts a pixel to the object."""

    features: Tensor  # float16, bfloat16 or float32 [S,N,C], of the encoder, on the device of the model
    depth: Tensor  # float32 [S,H,W], millimetres along z, 0 off the object
    K: Tensor  # float64 [S,3,3]
    cam_from_obj: Tensor  # float64 [S,4,4], millimetres

    @property
    def num_templates(self) -> int:
        """S."""
        return len(self.features)

    @property
    def num_bytes(self) -> int:
        """The memory that the tensors take."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self)

    def select(self, templates: Tensor) -> TemplateBank:
        """The bank of some of the templates, [k] int64, as for a few positives of a known view."""
        return TemplateBank(*(tensor[templates] for tensor in self))


@torch.inference_mode()
def build_bank(
    model: Vpog, templates: Views, *, dtype: torch.dtype = torch.float16, chunk: int = 16
) -> TemplateBank:
    """Encode the templates of an object once.

    Args:
        model: whose encoder is used, on its device.
        templates: [S] views.
        dtype: of the kept features. Half precision halves the memory; attention runs in float32.
        chunk: pictures that are encoded at a time, which bounds the memory.

    Raises:
        ValueError: no template, a pose that is not finite, or features that do not fit `dtype`.
    """
    if templates.masks.dim() != 3 or len(templates.masks) == 0:
        fail("build_bank", "templates", "[S] views with S >= 1", list(templates.masks.shape))
    require_finite("build_bank", "templates.cam_from_obj", templates.cam_from_obj)
    device = next(model.parameters()).device
    parts = [model.encode(images.to(device)).to(dtype) for images in templates.images.split(chunk)]
    features = torch.cat(parts)
    require_finite("build_bank", f"features in {dtype}", features)
    depth = torch.where(templates.masks, templates.depth, 0)
    return TemplateBank(features, depth.cpu(), templates.K.cpu(), templates.cam_from_obj.cpu())


class FeatureCache:
    """Banks of several objects within a budget of bytes; the least recently used ones go first.

    >>> cache = FeatureCache(byte_budget=100)
    >>> cache.num_bytes, cache.keys
    (0, [])
    """

    def __init__(self, byte_budget: int = DEFAULT_BUDGET_BYTES) -> None:
        if byte_budget <= 0:
            fail("FeatureCache", "byte_budget", "> 0", byte_budget)
        self.byte_budget = byte_budget
        self._banks: OrderedDict[int, TemplateBank] = OrderedDict()

    @property
    def keys(self) -> list[int]:
        """The objects that are kept, the least recently used first."""
        return list(self._banks)

    @property
    def num_bytes(self) -> int:
        """The memory that is used."""
        return sum(bank.num_bytes for bank in self._banks.values())

    def get(self, obj_id: int, build: Callable[[], TemplateBank]) -> TemplateBank:
        """The bank of an object, from `build` if it is not kept; it is the most recently used one afterwards.

        Raises:
            ValueError: the bank alone is larger than the budget.
        """
        if obj_id not in self._banks:
            bank = build()
            self._make_room(obj_id, bank.num_bytes)
            self._banks[obj_id] = bank
        self._banks.move_to_end(obj_id)
        return self._banks[obj_id]

    def _make_room(self, obj_id: int, wanted: int) -> None:
        if wanted > self.byte_budget:
            remedy = f"Object {obj_id} alone takes that much: keep features in half precision or raise it."
            fail("FeatureCache", "byte_budget", f">= {wanted} bytes", self.byte_budget, remedy)
        while self._banks and self.num_bytes + wanted > self.byte_budget:
            self._banks.popitem(last=False)
