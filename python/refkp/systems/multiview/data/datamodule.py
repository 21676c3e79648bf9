"""The Lightning DataModule of the multi-view system: a file of `refkp multiview preprocess`, in batches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from refkp._checks import fail
from refkp._extras import named_extras
from refkp.systems.multiview.batch import MultiviewBatch, MultiviewSample
from refkp.systems.multiview.body.joint_table import joint_map, read_joint_table
from refkp.systems.multiview.body.species import load_body
from refkp.systems.multiview.data.augmentation import ViewAugmentation
from refkp.systems.multiview.data.collation import collate
from refkp.systems.multiview.data.dataset import ALL_VIEWS, MultiviewDataset
from refkp.systems.multiview.data.splits import SplitRule, split_samples
from refkp.systems.multiview.data.truth import check_truth, truth_through_cameras
from refkp.systems.multiview.store.reading import SampleStore
from refkp.training.data import SystemData, require_unseen

with named_extras():
    from lightning.pytorch.utilities import rank_zero_info


class MultiviewData(SystemData):
    """Training and held-out samples, in batches (`MultiviewBatch`).

    Set-up shows the points of each file through its cameras and refuses one whose labels lie elsewhere.

    Args:
        body: "insect", "mouse", "quadruped", or a body file; labels are given by its joints. None: by their own.
        joints: a table of which label stands for which joint of the body, CSV with the columns model and data; None:
            by their names.
        source: a file of `refkp multiview preprocess`.
        val_source: such a file of held-out sessions, with the same cameras and joints; None holds out a part of
            `source`. A copy of `source` is an error; only who names `source` itself judges on what was trained on.
        val_fraction: part that is held out when there is no `val_source`, in (0,1).
        split: "time" holds out a block of each session, "session" whole sessions, "frame" single samples, whose
            neighbours are trained on.
        gap: frames next to a held-out block that are in neither part.
        num_views: views of a sample in a step, a random choice in training, the first ones when judging; -1: all.
        view: name of the one camera that is shown; None: several.
        drop_probability: in training, of each view being left out of a sample; one always stays. A model that is to
            serve with fewer views than it was trained on needs it.
        permute_probability: in training, of the views coming in a random order.
        augmentation: of the views in training; None for none.
        batch_size: samples in a step, on each rank.
        num_workers: loader processes; 0 loads in the training process.
        prefetch: batches that each loader process prepares ahead.
        split_seed: of the choice of held-out samples, the same in runs of another `seed`.
        seed: of the order and every draw; `--seed` sets it.
    """

    def __init__(
        self,
        source: str,
        val_source: str | None = None,
        val_fraction: float = 0.1,
        split: SplitRule = "time",
        gap: int = 10,
        num_views: int = ALL_VIEWS,
        view: str | None = None,
        drop_probability: float = 0.0,
        permute_probability: float = 0.5,
        augmentation: ViewAugmentation | None = ViewAugmentation(),  # noqa: B008 (frozen)
        batch_size: int = 8,
        num_workers: int = 0,
        prefetch: int = 2,
        split_seed: int = 0,
        seed: int = 0,
        body: str | None = None,
        joints: str | None = None,
    ) -> None:
        super().__init__(batch_size, num_workers, seed, prefetch)
        self.source, self.val_source = source, val_source
        self.val_fraction, self.split, self.gap, self.split_seed = val_fraction, split, gap, split_seed
        self.num_views, self.view = num_views, view
        self.drop_probability, self.permute_probability = drop_probability, permute_probability
        self.augmentation = augmentation
        self.body, self.joints = body, joints

    train_set: MultiviewDataset
    val_set: MultiviewDataset

    def setup(self, stage: str) -> None:
        """Open the file, check its truth, and split its samples."""
        if hasattr(self, "train_set"):
            return
        store = SampleStore(self.source)
        held_out, train = store, None
        if self.val_source is not None:
            held_out, val = SampleStore(self.val_source), None
            _require_alike(store, held_out)
            if self.val_source != self.source:
                require_unseen([Path(self.source)], [Path(self.val_source)])
        else:
            table = store.samples
            train, val, _ = split_samples(table.sessions.tolist(), table.frames.tolist(), **self._split)
        for each in (store,) if held_out is store else (store, held_out):
            rank_zero_info(check_truth(truth_through_cameras(MultiviewDataset(each)), each.info.size))
        self.train_set = self._dataset(store, train, training=True)
        self.val_set = self._dataset(held_out, val, training=False)

    def _dataset(self, store: SampleStore, samples: list[int] | None, *, training: bool) -> MultiviewDataset:
        return MultiviewDataset(
            store,
            samples,
            num_views=self.num_views,
            view=self.view,
            drop_probability=self.drop_probability,
            permute_probability=self.permute_probability,
            augmentation=self.augmentation,
            joint_map=self._joint_map(store),
            training=training,
            seed=self.seed,
        )

    @property
    def _split(self) -> dict[str, Any]:
        return {"rule": self.split, "fraction": self.val_fraction, "gap": self.gap, "seed": self.split_seed}

    def _joint_map(self, store: SampleStore) -> Tensor | None:
        if self.body is None:
            return None
        names = store.info.joint_names
        if names is None:
            remedy = "Write it again with `refkp multiview preprocess`."
            fail("MultiviewData", "source", "a file that names its joints", str(store.path), remedy)
        table = None if self.joints is None else read_joint_table(self.joints)
        return joint_map(load_body(self.body).joint_names, names, table)

    def collate(self, samples: Sequence[MultiviewSample]) -> MultiviewBatch:
        """Samples as a batch."""
        return collate(samples)

    def held_out_names(self) -> list[str]:
        """The held-out frames, by session."""
        table = self.val_set.store.samples
        return [f"{table.sessions[number]} frame {table.frames[number]}" for number in self.val_set.numbers]

    def specs(self) -> dict[str, Any]:
        """The order of cameras and joints, how pictures were made, and what of the file was held out."""
        info = self.train_set.store.info
        joints = None if info.joint_names is None else list(info.joint_names)
        mapped = self.train_set.joint_map
        return {
            "cameras": list(info.camera_names),
            "joints": joints,
            "joint_map": None if mapped is None else mapped.tolist(),
            "image_size": info.size,
            "crop": info.attributes.get("crop_mode", "whole"),
            "undistorted": info.undistorted,
            "split": self._split if self.val_source is None else None,
        }


def _require_alike(store: SampleStore, held_out: SampleStore) -> None:
    """Raise ValueError where two files differ in what an index means."""
    for name in ("camera_names", "num_joints", "joint_names", "size"):
        mine, other = getattr(store.info, name), getattr(held_out.info, name)
        if mine != other:
            remedy = "Preprocess both with the same options, or all sessions into one file."
            fail("MultiviewData", "val_source", f"with the {name} of `source`, {mine}", other, remedy)
