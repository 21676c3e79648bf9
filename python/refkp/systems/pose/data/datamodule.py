"""The Lightning DataModule of the pose system.

    ROOT/shards or ROOT/SPLIT   pictures: shards, or scene folders of the BOP challenge
    ROOT/models                 meshes
    ROOT/templates              rendered views of the meshes

`refkp pose generate --templates_level 1` writes all three from meshes. Source: spec pose 2.5, 5 and 7.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from refkp._checks import fail, require_choice
from refkp.systems.pose.data.augmentation import QueryAugmentation
from refkp.systems.pose.data.bop import BopReader
from refkp.systems.pose.data.dataset import (
    PoseDataset,
    PoseSample,
    SampleSpec,
    collate,
    tabulate_instances,
)
from refkp.systems.pose.data.models import ModelSet
from refkp.systems.pose.data.shards import ShardReader
from refkp.systems.pose.data.sources import SceneSource
from refkp.systems.pose.data.template_cache import TemplateCache
from refkp.systems.pose.templates.store import TemplateStore
from refkp.systems.pose.views import PoseBatch
from refkp.training.data import SystemData, require_unseen
from refkp.training.sampling import held_out_groups


class _Data(NamedTuple):
    """What lies in a folder ROOT."""

    source: SceneSource
    templates: TemplateCache
    models: ModelSet


class PoseData(SystemData):
    """Training and held-out objects with their templates, in batches (`PoseBatch`).

    Args:
        source: the folder ROOT.
        templates: folder of the template store; None: `templates` in the source.
        scale_factor: units per millimetre of published templates (`TemplateStore`); None for rendered ones.
        val_source: folder ROOT of held-out pictures, with its own templates; None holds out scenes of `source`.
            A held-out picture or shard that is a copy of one of training is an error; only who names the
            `source` itself judges on what was trained on.
        val_fraction: part of the scenes held out when there is no `val_source`, at least one, in (0,1).
        split: folder of the pictures below the root.
        samples: how templates and boxes are chosen.
        augmentation: of the query's colours in training; None for none.
        image_size: side of the crops in pixels; set by the model.
        patch_size: of the model; divides `image_size`.
        batch_size: objects in a step, on each rank.
        num_workers: loader processes; 0 loads in the training process.
        prefetch: batches that each loader process prepares ahead.
        cache_bytes: templates that each process keeps in memory.
        on_broken: what to do about a broken shard: "raise", or "skip" it with a warning.
        index_folder: for the index files of shards in a folder that cannot be written; None: beside them.
        split_seed: of the choice of held-out scenes, the same in runs of another `seed`.
        seed: of the order and every draw; `--seed` sets it.
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
        prefetch: int = 2,
        cache_bytes: int = 2 << 30,
        on_broken: Literal["raise", "skip"] = "raise",
        index_folder: str | None = None,
        split_seed: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, num_workers, seed, prefetch)
        require_choice("PoseData", "on_broken", on_broken, ("raise", "skip"))
        if image_size < 1 or image_size % patch_size:
            fail("PoseData", "image_size", f"a multiple of `patch_size` ({patch_size})", image_size)
        if not 0 < val_fraction < 1:
            fail("PoseData", "val_fraction", "inside (0,1)", val_fraction)
        self.source, self.templates, self.scale_factor = source, templates, scale_factor
        self.val_source = val_source
        self.val_fraction, self.split_seed, self.split = val_fraction, split_seed, split
        self.samples, self.augmentation = samples, augmentation
        self.image_size, self.patch_size = image_size, patch_size
        self.cache_bytes = cache_bytes
        self.on_broken, self.index_folder = on_broken, index_folder

    train_set: PoseDataset
    val_set: PoseDataset

    def setup(self, stage: str) -> None:
        """Open pictures and templates, and split the scenes."""
        if hasattr(self, "train_set"):
            return
        data = self._open(self.source, self.templates)
        if self.val_source is not None:
            held_out = self._open(self.val_source, None)
            if self.val_source != self.source:
                every = range(len(data.source)), range(len(held_out.source))
                _require_unseen(data.source, every[0], held_out.source, every[1])
            self.train_set = self._dataset(data, None, training=True)
            self.val_set = self._dataset(held_out, None, training=False)
            return
        scenes = [f"{key.scene_id:06d}" for key in data.source.keys]
        train, val = held_out_groups(scenes, self.val_fraction, self.split_seed)
        _require_unseen(data.source, train, data.source, val)
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

    def collate(self, samples: Sequence[PoseSample]) -> PoseBatch:
        """Samples as a batch."""
        return collate(samples)

    def held_out_names(self) -> list[str]:
        """The held-out pictures."""
        source = self.val_set.source
        return [source.keys[number] for number in dict.fromkeys(self.val_set.table.scene.tolist())]


def _require_unseen(
    source: SceneSource, scenes: Iterable[int], held_out: SceneSource, held_out_scenes: Iterable[int]
) -> None:
    """No held-out file equals one of training; a shard that has scenes of both is not looked into."""
    train, judged = source.files(scenes), held_out.files(held_out_scenes)
    require_unseen(sorted(train - judged), sorted(judged - train))


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


def open_dataset(root: Path | str, image_size: int, *, limit: int | None = None) -> PoseDataset:
    """The visible objects of a folder of `refkp pose generate`, with the templates in it, to be judged.

    Args:
        root: folder of the data set.
        image_size: side of the crops in pixels.
        limit: only so many pictures, the first ones.
    """
    source, store, samples = open_source(root), TemplateStore(Path(root) / "templates"), SampleSpec()
    numbers = list(range(len(source)))[:limit]
    instances = tabulate_instances(source, store.obj_ids, samples.min_visible, numbers)
    return PoseDataset(source, instances, TemplateCache(store, image_size), ModelSet(root), samples)
