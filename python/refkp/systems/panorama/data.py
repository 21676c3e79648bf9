"""Panoramas from a folder or CSV files, as a dataset and a Lightning DataModule. Source: spec panorama 5.

A worker decodes a panorama and draws a rotation; the views of a whole batch are rendered on the training
device, in one launch, after the transfer. So the random rotation costs nothing, and 25 MB tiles never cross a
process border.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from refkp._checks import fail, require_choice
from refkp._extras import named_extras
from refkp.systems.panorama.augmentation import Augmentation, draw_rig_rotations
from refkp.systems.panorama.batch import ErpBatch, PanoBatch
from refkp.systems.panorama.images import read_panorama, stack_panoramas
from refkp.systems.panorama.layout import ErpLayout, LayoutSpec
from refkp.systems.panorama.views import Antialias, render_views

with named_extras():
    import lightning as L

#: File name endings that a panorama may have.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")


def find_panoramas(source: str | Path) -> list[Path]:
    """The panoramas of a folder (sorted by name, subfolders included) or of a CSV file.

    A CSV file has a column `url` with one path per row, absolute or relative to the file; rows that name the
    same panorama again, with another question, count once.

    Raises:
        ValueError: nothing is there, or the CSV lacks its column.
    """
    source = Path(source)
    if source.is_dir():
        paths = sorted(path for path in source.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    elif source.suffix.lower() == ".csv" and source.is_file():
        paths = list(dict.fromkeys(_csv_paths(source)))
    else:
        fail("find_panoramas", "source", "a folder of panoramas or a CSV file", repr(str(source)))
    if not paths:
        remedy = f"Panoramas end in {', '.join(IMAGE_SUFFIXES)}."
        fail("find_panoramas", "source", "a place with at least one panorama", repr(str(source)), remedy)
    return paths


def _csv_paths(source: Path) -> Iterator[Path]:
    with source.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets begin their files with a mark
        reader = csv.DictReader(file)
        if "url" not in (reader.fieldnames or ()):
            fail("find_panoramas", "source", "a CSV file with a column `url`", reader.fieldnames)
        for row in reader:
            if not row["url"]:
                fail("find_panoramas", "source", "a CSV file with a path in column `url` of every row", row)
            yield source.parent / row["url"]


class PanoramaItem(NamedTuple):
    """One sample of the dataset."""

    erp: Tensor  # uint8 [3,H,2H]
    world_from_rig: Tensor  # float32 [3,3]
    name: str


class PanoramaDataset(Dataset[PanoramaItem]):
    """Panoramas of one common height, each with a random rotation of its tiles.

    Args:
        paths: the pictures.
        height: rows to which every panorama is resized.
        augmentation: "yaw" turns the tiles about the vertical, "full" about any axis.
        repeat: passes over the panoramas in one epoch, each with its own rotation.
        cache: keep decoded panoramas in memory (1.5 height^2 x 4 bytes each).
    """

    def __init__(
        self,
        paths: Sequence[Path],
        height: int,
        *,
        augmentation: Augmentation = "none",
        repeat: int = 1,
        cache: bool = True,
    ) -> None:
        require_choice("PanoramaDataset", "augmentation", augmentation, ("none", "yaw", "full"))
        self.paths, self.height, self.augmentation, self.repeat = list(paths), height, augmentation, repeat
        self._cache: dict[Path, Tensor] | None = {} if cache else None

    def __len__(self) -> int:
        return len(self.paths) * self.repeat

    def __getitem__(self, index: int) -> PanoramaItem:
        path = self.paths[index % len(self.paths)]
        return PanoramaItem(self._read(path), draw_rig_rotations(self.augmentation, 1)[0], path.name)

    def _read(self, path: Path) -> Tensor:
        if self._cache is None:
            return read_panorama(path, self.height)
        if path not in self._cache:
            self._cache[path] = read_panorama(path, self.height)
        return self._cache[path]


class PanoramaData(L.LightningDataModule):
    """Training and held-out panoramas, rendered to views of one layout.

    Args:
        source: a folder or a CSV file of panoramas.
        val_source: the held-out ones; None holds out `val_fraction` of `source`, the last by name (at least
            one).
        val_fraction: part of `source` that is held out when there is no `val_source`, in (0,1).
        layout: the views.
        view_size: side of the views in pixels; set by the encoder.
        erp_height: rows of a decoded panorama; about 180 / fov times the view size avoids aliasing.
        antialias: of the rendering, as in `ops.e2p`.
        augmentation: random rotation of all tiles of a training sample: "none", "yaw" or "full".
        jitter_deg: random turn of each tile by itself, one layout per training batch (`ErpLayout.jittered`).
        batch_size: panoramas in a step.
        repeat: passes over the panoramas in one epoch.
        num_workers: loader processes; 0 decodes in the training process.
        cache: keep decoded panoramas in memory.
    """

    def __init__(
        self,
        source: str,
        val_source: str | None = None,
        val_fraction: float = 0.25,
        layout: LayoutSpec = LayoutSpec(),  # noqa: B008 (frozen)
        view_size: int = 224,
        erp_height: int = 1024,
        antialias: Antialias = "none",
        augmentation: Augmentation = "full",
        jitter_deg: float = 0.0,
        batch_size: int = 8,
        repeat: int = 1,
        num_workers: int = 0,
        cache: bool = True,
    ) -> None:
        super().__init__()
        if not 0 < val_fraction < 1:
            fail("PanoramaData", "val_fraction", "inside (0,1)", val_fraction)
        self.source, self.val_source, self.val_fraction = source, val_source, val_fraction
        self.layout = ErpLayout.build(layout)
        self.view_size, self.erp_height, self.antialias = view_size, erp_height, antialias
        self.augmentation, self.jitter_deg = augmentation, jitter_deg
        self.batch_size, self.repeat = batch_size, repeat
        self.num_workers, self.cache = num_workers, cache

    def setup(self, stage: str) -> None:
        """Find the panoramas and split them."""
        if hasattr(self, "train_set"):
            return
        train, held_out = self._split()
        self.train_set = PanoramaDataset(
            train, self.erp_height, augmentation=self.augmentation, repeat=self.repeat, cache=self.cache
        )
        self.val_set = PanoramaDataset(held_out, self.erp_height, cache=self.cache)

    def _split(self) -> tuple[list[Path], list[Path]]:
        paths = find_panoramas(self.source)
        if self.val_source is not None:
            return paths, find_panoramas(self.val_source)
        count = max(1, round(self.val_fraction * len(paths)))
        if count >= len(paths):
            remedy = "Add panoramas, or name held-out ones with `val_source`."
            fail("PanoramaData", "source", "at least two panoramas", len(paths), remedy)
        return paths[:-count], paths[-count:]

    def train_dataloader(self) -> DataLoader[PanoramaItem]:
        """Shuffled training panoramas."""
        return self._loader(self.train_set, self._collate_training, shuffle=True)

    def val_dataloader(self) -> DataLoader[PanoramaItem]:
        """The held-out panoramas, unrotated."""
        return self._loader(self.val_set, self._collate, shuffle=False)

    def _loader(
        self, dataset: PanoramaDataset, collate: Callable[[list[PanoramaItem]], ErpBatch], *, shuffle: bool
    ) -> DataLoader[PanoramaItem]:
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            shuffle=shuffle,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            collate_fn=collate,
        )

    def _collate(self, items: list[PanoramaItem]) -> ErpBatch:
        erp, world_from_rig, names = zip(*items, strict=True)
        return ErpBatch(stack_panoramas(erp), torch.stack(world_from_rig), names, self.layout)

    def _collate_training(self, items: list[PanoramaItem]) -> ErpBatch:
        batch = self._collate(items)
        return replace(batch, layout=self.layout.jittered(self.jitter_deg)) if self.jitter_deg else batch

    def on_after_batch_transfer(self, batch: ErpBatch, dataloader_idx: int) -> PanoBatch:
        """Render the views on the device of the batch."""
        views = render_views(
            batch.erp,
            batch.layout,
            self.view_size,
            world_from_rig=batch.world_from_rig,
            antialias=self.antialias,
        )
        return PanoBatch(views.pixels, batch.world_from_rig, batch.names, batch.layout)
