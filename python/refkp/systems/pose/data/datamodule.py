"""The Lightning DataModule of the pose system.

    ROOT/shards or ROOT/SPLIT   pictures: shards, or scene folders of the BOP challenge
    ROOT/models                 meshes
    ROOT/templates              rendered views of the meshes

`refkp pose generate --templates_level 1` writes all three from meshes. Source: spec pose 2.5, 5 and 7.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from refkp._checks import fail, require_choice
from refkp._extras import named_extras
from refkp.systems.pose.data.augmentation import QueryAugmentation
from refkp.systems.pose.data.bop import BopReader
from refkp.systems.pose.data.dataset import PoseDataset, SampleSpec, collate, tabulate_instances
from refkp.systems.pose.data.models import ModelSet
from refkp.systems.pose.data.sampler import PoseSampler, ResumableLoader
from refkp.systems.pose.data.shards import ShardReader
from refkp.systems.pose.data.sources import SceneSource
from refkp.systems.pose.data.template_cache import TemplateCache
from refkp.systems.pose.scene import PictureKey
from refkp.systems.pose.templates.store import TemplateStore

with named_extras():
    import lightning as L


class _Data(NamedTuple):
    """What lies in a folder ROOT."""

    source: SceneSource
    templates: TemplateCache
    models: ModelSet


class PoseData(L.LightningDataModule):
    """Training and held-out objects with their templates, in batches (`PoseBatch`).

    Args:
        source: the folder ROOT.
        templates: folder of the template store; None: `templates` in the source.
        scale_factor: units per millimetre of published templates (`TemplateStore`); None for rendered ones.
        val_source: folder ROOT of held-out pictures, with its own templates; None holds out scenes of `source`.
        val_fraction: part of the scenes held out when there is no `val_source`, at least one, in (0,1).
        split: folder of the pictures below the root.
        samples: how templates and boxes are chosen.
        augmentation: of the query's colours in training; None for none.
        image_size: side of the crops in pixels; set by the model.
        patch_size: of the model; divides `image_size`.
        batch_size: objects in a step, on each rank.
        num_workers: loader processes; 0 loads in the training process.
        cache_bytes: templates that each process keeps in memory.
        on_broken: what to do about a broken shard: "raise", or "skip" it with a warning.
        index_folder: for the index files of shards in a folder that cannot be written; None: beside them.
        seed: of the held-out scenes, the order, and every draw.
    """

    def __init__(
        self,
        source: str,
        templates: str | None = None,
        scale_factor: float | None = None,
        val_source: str | None = None,
        val_fraction: float = 0.1,
        split: str = "shards",
        samples: SampleSpec = SampleSpec(),  # noqa: B008 (frozen)
        augmentation: QueryAugmentation | None = QueryAugmentation(),  # noqa: B008 (frozen)
        image_size: int = 224,
        patch_size: int = 16,
        batch_size: int = 8,
        num_workers: int = 0,
        cache_bytes: int = 2 << 30,
        on_broken: Literal["raise", "skip"] = "raise",
        index_folder: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        require_choice("PoseData", "on_broken", on_broken, ("raise", "skip"))
        if image_size < 1 or image_size % patch_size:
            fail("PoseData", "image_size", f"a multiple of `patch_size` ({patch_size})", image_size)
        if not 0 < val_fraction < 1:
            fail("PoseData", "val_fraction", "inside (0,1)", val_fraction)
        for name, value, least in (("batch_size", batch_size, 1), ("num_workers", num_workers, 0)):
            if value < least:
                fail("PoseData", name, f"at least {least}", value)
        self.source, self.templates, self.scale_factor = source, templates, scale_factor
        self.val_source = val_source
        self.val_fraction, self.split, self.seed = val_fraction, split, seed
        self.samples, self.augmentation = samples, augmentation
        self.image_size, self.patch_size = image_size, patch_size
        self.batch_size, self.num_workers = batch_size, num_workers
        self.cache_bytes = cache_bytes
        self.on_broken, self.index_folder = on_broken, index_folder

    def setup(self, stage: str) -> None:
        """Open pictures and templates, and split the scenes."""
        if hasattr(self, "train_set"):
            return
        data = self._open(self.source, self.templates)
        if self.val_source is not None:
            self.train_set = self._dataset(data, None, training=True)
            self.val_set = self._dataset(self._open(self.val_source, None), None, training=False)
            return
        train, val = split_scenes(data.source.keys, self.val_fraction, self.seed)
        self.train_set = self._dataset(data, train, training=True)
        self.val_set = self._dataset(data, val, training=False)

    def _open(self, root: str, templates: str | None) -> _Data:
        source = open_source(root, self.split, on_broken=self.on_broken, index_folder=self.index_folder)
        return _Data(source, self._cache(root, templates), ModelSet(root))

    def _cache(self, root: str, templates: str | None) -> TemplateCache:
        folder = Path(root) / "templates" if templates is None else Path(templates)
        if not folder.is_dir():
            remedy = "Render them with `refkp pose render-templates`, or generate with `--templates_level 1`."
            fail("PoseData", "templates", "a folder of rendered templates", f"{str(folder)!r}", remedy)
        return TemplateCache(
            TemplateStore(folder, scale_factor=self.scale_factor), self.image_size, self.cache_bytes
        )

    def _dataset(self, data: _Data, scenes: Sequence[int] | None, *, training: bool) -> PoseDataset:
        table = tabulate_instances(
            data.source, data.templates.store.obj_ids, self.samples.min_visible, scenes
        )
        augmentation = self.augmentation if training else None
        options: dict[str, Any] = {"augmentation": augmentation, "training": training, "seed": self.seed}
        return PoseDataset(data.source, table, data.templates, data.models, self.samples, **options)

    def train_dataloader(self) -> ResumableLoader:
        """Shuffled training samples."""
        return self._loader(self.train_set, shuffle=True)

    def val_dataloader(self) -> ResumableLoader:
        """Held-out samples, the same in every epoch."""
        return self._loader(self.val_set, shuffle=False)

    def _loader(self, dataset: PoseDataset, *, shuffle: bool) -> ResumableLoader:
        rank, num_ranks = (
            (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)
        )
        sampler = PoseSampler(dataset, shuffle=shuffle, seed=self.seed, rank=rank, num_ranks=num_ranks)
        return ResumableLoader(
            dataset,
            batch_size=self.batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.accelerator.is_available(),
            collate_fn=collate,
            generator=torch.Generator(),  # or each epoch would draw from the random state that a run resumes
        )


def open_source(
    root: Path | str,
    split: str = "shards",
    *,
    on_broken: Literal["raise", "skip"] = "raise",
    index_folder: Path | str | None = None,
) -> SceneSource:
    """The pictures in ROOT/SPLIT: a `ShardReader` if there are shards, else a `BopReader`.

    Args:
        root: folder of the data set.
        split: folder below it.
        on_broken, index_folder: of a `ShardReader`.

    Raises:
        ValueError: no such folder, or no pictures in it.
    """
    folder = Path(root) / split
    if not folder.is_dir():
        remedy = "`refkp pose generate` writes such a folder."
        fail("open_source", "root", f"a folder with {split}/", repr(str(root)), remedy)
    if any(folder.glob("shard-*.tar")):
        return ShardReader(folder, on_broken=on_broken, index_folder=index_folder)
    return BopReader(root, split)


def split_scenes(keys: Sequence[PictureKey], fraction: float, seed: int) -> tuple[list[int], list[int]]:
    """Numbers of the training pictures and of the held-out ones; pictures of one scene stay together.

    >>> split_scenes([PictureKey(0, 0), PictureKey(0, 1), PictureKey(3, 0)], 0.5, seed=0)
    ([2], [0, 1])
    """
    names = [key.scene_id for key in keys]
    scenes = sorted(set(names))
    count = max(1, round(fraction * len(scenes)))
    if count >= len(scenes):
        remedy = "Add scenes, or name held-out pictures with `val_source`."
        fail("split_scenes", "keys", "of at least two scenes", len(scenes), remedy)
    order = torch.randperm(len(scenes), generator=torch.Generator().manual_seed(seed)).tolist()
    held_out = {scenes[place] for place in order[:count]}
    train = [number for number, name in enumerate(names) if name not in held_out]
    return train, [number for number, name in enumerate(names) if name in held_out]
