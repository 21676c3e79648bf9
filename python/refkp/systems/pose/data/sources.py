"""Where scenes come from: shards, BOP folders, or anything with the same three members."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from refkp.systems.pose.data.records import Annotation
from refkp.systems.pose.scene import PictureKey, Scene


class SceneSource(Protocol):
    """Scenes by number, in one order for all processes."""

    keys: Sequence[PictureKey]  # one per scene

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Scene: ...

    def annotations(self, index: int) -> tuple[Annotation, ...]:
        """Object and visibility of each instance of a scene, in the order of its instances, without decoding."""
        ...

    def files(self, scenes: Iterable[int]) -> set[Path]:
        """The files that hold the pictures of these scenes: one each, or shards of many."""
        ...
