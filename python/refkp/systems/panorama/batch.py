"""What travels from the data to the model: typed batches that carry their layout (spec panorama 4.2, 5)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from refkp.systems.panorama.views.layout import ErpLayout


@dataclass(frozen=True)
class TextBatch:
    """Tokenised texts of B samples, right-padded; each row holds the vision placeholder once."""

    input_ids: Tensor  # int64 [B,L]
    attention_mask: Tensor  # int64 [B,L], 0 where padded
    labels: Tensor | None = None  # int64 [B,L], -100 where nothing is learned; None for generation

    def to(self, device: torch.device | str) -> TextBatch:
        """The same batch on `device`."""
        labels = None if self.labels is None else self.labels.to(device)
        return TextBatch(self.input_ids.to(device), self.attention_mask.to(device), labels)

    def pin_memory(self) -> TextBatch:
        """The same batch in pinned memory; the data loader calls this."""
        labels = None if self.labels is None else self.labels.pin_memory()
        return TextBatch(self.input_ids.pin_memory(), self.attention_mask.pin_memory(), labels)


@dataclass(frozen=True)
class ErpBatch:
    """B decoded panoramas, before their views are rendered."""

    erp: Tensor  # uint8 [B,3,H,2H]
    world_from_rig: Tensor  # float32 [B,3,3], the rotation of all tiles of a sample
    names: tuple[str, ...]
    layout: ErpLayout
    text: TextBatch | None = None  # None in the vision stage

    def to(self, device: torch.device | str) -> ErpBatch:
        """The same batch on `device`; Lightning calls this."""
        return replace(
            self,
            erp=self.erp.to(device),
            world_from_rig=self.world_from_rig.to(device),
            text=None if self.text is None else self.text.to(device),
        )

    def pin_memory(self) -> ErpBatch:
        """The same batch in pinned memory; the data loader calls this."""
        return replace(
            self,
            erp=self.erp.pin_memory(),
            world_from_rig=self.world_from_rig.pin_memory(),
            text=None if self.text is None else self.text.pin_memory(),
        )


@dataclass(frozen=True)
class PanoBatch:
    """The views of B panoramas, what the model reads."""

    views: Tensor  # float32 [B,V,3,size,size] in [0,1]
    world_from_rig: Tensor  # float32 [B,3,3]
    names: tuple[str, ...]
    layout: ErpLayout
    text: TextBatch | None = None  # None in the vision stage

    def to(self, device: torch.device | str) -> PanoBatch:
        """The same batch on `device`; Lightning calls this."""
        return replace(
            self,
            views=self.views.to(device),
            world_from_rig=self.world_from_rig.to(device),
            text=None if self.text is None else self.text.to(device),
        )
