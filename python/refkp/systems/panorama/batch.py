"""What travels from the data to the model: typed batches that carry their layout (spec panorama 4.2, 5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import torch
from torch import Tensor

from refkp.systems.panorama.views.layout import ErpLayout

Batch = TypeVar("Batch", bound="_Tensors")


@dataclass(frozen=True)
class _Tensors:
    """Tensors, other batches and what is neither, moved together."""

    def to(self: Batch, device: torch.device | str) -> Batch:
        """The same batch on `device`; Lightning calls this."""
        return _changed(self, lambda tensor: tensor.to(device))

    def pin_memory(self: Batch) -> Batch:
        """The same batch in pinned memory; the data loader calls this."""
        return _changed(self, Tensor.pin_memory)


def _changed(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    """A batch with every tensor of it changed."""
    values = {field.name: getattr(batch, field.name) for field in fields(batch)}
    tensors = {name: change(value) for name, value in values.items() if isinstance(value, Tensor)}
    inner = {name: _changed(value, change) for name, value in values.items() if isinstance(value, _Tensors)}
    return replace(batch, **tensors, **inner)


@dataclass(frozen=True)
class TextBatch(_Tensors):
    """Tokenised texts of B samples, right-padded; each row holds the vision placeholder once."""

    input_ids: Tensor  # int64 [B,L]
    attention_mask: Tensor  # int64 [B,L], 0 where padded
    labels: Tensor | None = None  # int64 [B,L], -100 where nothing is learned; None for generation


@dataclass(frozen=True)
class ErpBatch(_Tensors):
    """B decoded panoramas, before their views are rendered."""

    erp: Tensor  # uint8 [B,3,H,2H]
    world_from_rig: Tensor  # float32 [B,3,3], the rotation of all tiles of a sample
    names: tuple[str, ...]
    layout: ErpLayout
    text: TextBatch | None = None  # None in the vision stage


@dataclass(frozen=True)
class PanoBatch(_Tensors):
    """The views of B panoramas, what the model reads."""

    views: Tensor  # float32 [B,V,3,size,size] in [0,1]
    world_from_rig: Tensor  # float32 [B,3,3]
    names: tuple[str, ...]
    layout: ErpLayout
    text: TextBatch | None = None  # None in the vision stage
