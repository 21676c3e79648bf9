"""The model of a trained run, built again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from refkp._checks import fail
from refkp.systems.multiview.body.files import body_from_fields
from refkp.systems.multiview.data.dataset import MultiviewDataset
from refkp.systems.multiview.data.splits import split_samples
from refkp.systems.multiview.model.network import MultiviewModel
from refkp.systems.multiview.model.spec import MultiviewSpec
from refkp.systems.multiview.store.reading import SampleStore
from refkp.systems.multiview.store.records import StoreInfo
from refkp.training.checkpoint import read_checkpoint
from refkp.training.config import from_plain
from refkp.training.stages import run_checkpoint


class TrainedRun(NamedTuple):
    """A trained model, in evaluation mode, and how it was shown its data."""

    model: MultiviewModel
    data: dict[str, Any]  # cameras, joints, joint_map, image_size, crop, undistorted, split
    calibrated_share: float

    def order(self, views: Iterable[str]) -> list[str]:
        """Names of cameras of the run in its order.

        Raises:
            ValueError: a name that is not among them, or none.
        """
        known, given = self.data["cameras"], list(views)
        unknown = [name for name in given if name not in known]
        if unknown or not given:
            fail(
                "TrainedRun",
                "video",
                f"of cameras of the run, {', '.join(known)}",
                ", ".join(unknown) or "none",
            )
        return [name for name in known if name in given]

    def indices(self, views: Sequence[str]) -> Tensor:
        """The numbers of cameras, int64 [V]."""
        return torch.tensor([self.data["cameras"].index(name) for name in views])

    def samples(self, path: Path | str, *, held_out: bool = False) -> MultiviewDataset:
        """The samples of a file in all their views, with the labels of the joints of the body.

        Args:
            path: of the file, made as the training set was.
            held_out: those alone that a training on this file held out; False: all.

        Raises:
            ValueError: another kind of file, or a run that held nothing of its own file out.
        """
        store = SampleStore(path)
        self.require_data(store.info)
        mapped = self.data["joint_map"]
        labels = None if mapped is None else torch.tensor(mapped)
        numbers = self._held_out(store) if held_out else None
        return MultiviewDataset(store, numbers, joint_map=labels)

    def _held_out(self, store: SampleStore) -> list[int]:
        if self.data["split"] is None:
            remedy = "Leave it, and give that file as `data`."
            fail(
                "TrainedRun",
                "part",
                "'all' for a run that was judged on a file of its own",
                "'held_out'",
                remedy,
            )
        table = store.samples
        return split_samples(table.sessions.tolist(), table.frames.tolist(), **self.data["split"]).held_out

    def require_data(self, info: StoreInfo) -> None:
        """Raise ValueError unless a file of samples means the same by its cameras, joints and pictures."""
        told = (list(info.camera_names), list(info.joint_names or ()), info.size)
        for name, got in zip(("cameras", "joints", "image_size"), told, strict=True):
            if got != self.data[name]:
                remedy = "Preprocess it with the options of the training set."
                fail("TrainedRun", "data", f"a file with the {name} {self.data[name]}", got, remedy)


def load_run(run: str | Path) -> TrainedRun:
    """The trained model of a run.

    Args:
        run: the folder of a complete run, or a checkpoint file.

    Raises:
        ValueError: the run is not complete, or the checkpoint was not written by a multi-view training.
    """
    checkpoint = read_checkpoint(run_checkpoint(run, "multiview", ("train",)), "multiview")
    specs = checkpoint.specs
    model = MultiviewModel(from_plain(MultiviewSpec, specs["model"]), body_from_fields(specs["body"]))
    model.load_state_dict(checkpoint.weights())
    return TrainedRun(model.eval(), dict(specs["data"]), specs["calibrated_share"])
