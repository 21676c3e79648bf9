"""Panoramas with their texts as a dataset, and the batches they make. Source: spec panorama 5."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from refkp._checks import fail
from refkp.systems.panorama.batch import ErpBatch
from refkp.systems.panorama.data.text import TextSample, collate_text
from refkp.systems.panorama.views.augmentation import Augmentation, draw_rig_rotations
from refkp.systems.panorama.views.images import read_panorama, stack_panoramas
from refkp.systems.panorama.views.layout import ErpLayout
from refkp.training.sampling import SampleIndex, sample_generator


class PanoramaItem(NamedTuple):
    """One sample of the dataset."""

    drawn: SampleIndex
    is_training: bool  # drawn with an augmentation
    erp: Tensor  # uint8 [3,H,2H]
    world_from_rig: Tensor  # float32 [3,3]
    name: str
    layout: ErpLayout
    text: TextSample | None = None  # None in the vision stage


class PanoramaDataset(Dataset[PanoramaItem]):
    """Panoramas of one common height, each with a random rotation of its tiles.

    Args:
        paths: the pictures, one per sample.
        height: rows to which every panorama is resized.
        layout: the views.
        texts: one per sample; None for none.
        augmentation: None for held-out samples; "yaw" turns the tiles about the vertical, "full" about any axis.
        repeat: passes over the samples in one epoch, each with its own rotation.
        seed: of the rotations.
        cache: keep decoded panoramas in memory (1.5 height^2 x 4 bytes each).
    """

    def __init__(
        self,
        paths: Sequence[Path],
        height: int,
        layout: ErpLayout,
        *,
        texts: Sequence[TextSample] | None = None,
        augmentation: Augmentation | None = None,
        repeat: int = 1,
        cache: bool = True,
        seed: int = 0,
    ) -> None:
        if texts is not None and len(texts) != len(paths):
            fail("PanoramaDataset", "texts", f"one per panorama ({len(paths)})", len(texts))
        self.paths, self.height, self.layout, self.texts = list(paths), height, layout, texts
        self.augmentation, self.repeat, self.seed = augmentation, repeat, seed
        self._cache: dict[Path, Tensor] | None = {} if cache else None

    def __len__(self) -> int:
        return len(self.paths) * self.repeat

    def __getitem__(self, index: SampleIndex | int) -> PanoramaItem:
        """A sample, with the draws of its epoch (0 for a plain number)."""
        index = index if isinstance(index, SampleIndex) else SampleIndex(0, index)
        sample = index.number % len(self.paths)
        path, is_training = self.paths[sample], self.augmentation is not None
        generator = sample_generator(self.seed, index)
        rotation = draw_rig_rotations(self.augmentation or "none", 1, generator=generator)[0]
        text = None if self.texts is None else self.texts[sample]
        return PanoramaItem(index, is_training, self._read(path), rotation, path.name, self.layout, text)

    def _read(self, path: Path) -> Tensor:
        if self._cache is None:
            return read_panorama(path, self.height)
        if path not in self._cache:
            self._cache[path] = read_panorama(path, self.height)
        return self._cache[path]


def collate(items: Sequence[PanoramaItem], pad_id: int | None = None) -> ErpBatch:
    """Samples of one layout and one size as a batch; texts padded on the right (`collate_text`).

    Args:
        items: all with a text, or all without.
        pad_id: fills up the texts; needed where there are any.

    Raises:
        ValueError: the samples differ in layout, in size, or in having a text.
    """
    _require_one("layouts", {item.layout.hash for item in items}, "Batch samples of each layout apart.")
    _require_one("sizes of `erp`", {tuple(item.erp.shape) for item in items}, "Resize to one `height`.")
    _require_one("kinds of sample", {"bare" if item.text is None else "with a text" for item in items}, "")
    texts = [item.text for item in items if item.text is not None]
    if texts and pad_id is None:
        fail("collate", "pad_id", "given for samples with a text", "None", "TextProcessor.pad_id is it.")
    return ErpBatch(
        stack_panoramas([item.erp for item in items]),
        torch.stack([item.world_from_rig for item in items]),
        tuple(item.name for item in items),
        items[0].layout,
        collate_text(texts, pad_id) if texts and pad_id is not None else None,
    )


def _require_one(what: str, found: set[Any], remedy: str) -> None:
    if len(found) != 1:
        fail("collate", "items", f"at least one sample, and not of different {what}", sorted(found), remedy)
