"""Scenes in the shards of the published training sets (MegaPose GSO and ShapeNet), read in any order.

    shard-000000.tar   members KEY.{rgb.jpg or rgb.png, depth.png, camera.json, gt.json, gt_info.json,
                       mask_visib.json} of about a thousand pictures
    key_to_shard.json  KEY -> number of its shard

Source: spec pose 7.1.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from refkp._checks import fail, require_choice
from refkp._progress import progress_bar
from refkp.data.images import decode_depth, decode_rgb
from refkp.systems.pose.data.intrinsics import parse_intrinsics
from refkp.systems.pose.data.json_values import parse_json, table_in, whole_in
from refkp.systems.pose.data.records import (
    Annotation,
    build_instance,
    check_scene,
    parse_annotations,
    parse_depth_scale,
    parse_full_box,
    parse_pose,
    read_centres,
    warn_of_inexact,
)
from refkp.systems.pose.data.rle import decode_mask
from refkp.systems.pose.data.shard_index import RGB_SUFFIXES, Sample, load_index, read_sample
from refkp.systems.pose.scene import Instance, PictureKey, Scene

KEY_TABLE = "key_to_shard.json"


class BrokenShard(NamedTuple):
    """A shard that was left out."""

    path: Path
    reason: str


class ShardReader:
    """The scenes of all shards of a folder, in the order of their names (a `SceneSource`).

    Args:
        folder: holds `shard-*.tar`.
        on_broken: what to do about a shard that is truncated or lacks members: "raise", or "skip" it. Skipped
            shards are counted in a warning and listed in `broken`.
        index_folder: where the index files go; None: beside the shards.

    Attributes:
        keys: of the scenes.
        broken: the shards left out.

    Raises:
        ValueError: no shard, a broken shard, or a key twice.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        on_broken: Literal["raise", "skip"] = "raise",
        index_folder: Path | str | None = None,
    ) -> None:
        require_choice("ShardReader", "on_broken", on_broken, ("raise", "skip"))
        self.folder = Path(folder)
        self._centres = read_centres(self.folder.parent)
        self._on_broken = on_broken
        self._index_folder = None if index_folder is None else Path(index_folder)
        self.broken: tuple[BrokenShard, ...] = ()
        paths = sorted(self.folder.glob("shard-*.tar"))
        if not paths:
            fail("ShardReader", "folder", "a folder with shard-*.tar", repr(str(folder)))
        promised = _read_key_table(self.folder)
        shards = [(path, self._load(path, promised)) for path in _with_progress(paths)]
        self._shards = [path for path, samples in shards if samples]
        self._flatten([samples for _, samples in shards if samples])
        warn_of_inexact(
            f"ShardReader({str(folder)!r})",
            sum(sample.num_inexact for _, samples in shards for sample in samples),
            len(self._obj_id),
        )
        if self.broken:
            reasons = "\n".join(reason for _, reason in self.broken)
            warnings.warn(
                f"ShardReader: {len(self.broken)} of {len(paths)} shards left out:\n{reasons}", stacklevel=2
            )

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> Scene:
        """Read and decode a scene; see `refkp.systems.pose.data.records` for what is checked."""
        shard = self._shards[self._shard_of[index]]
        members = read_sample(shard, *self._spans[index].tolist())
        return scene_from_members(self.keys[index], members, shard.name, self._centres)

    def annotations(self, index: int) -> tuple[Annotation, ...]:
        """Object and visibility of the instances of a scene, from the index."""
        first, last = self._first_instance[index : index + 2].tolist()
        pairs = zip(self._obj_id[first:last].tolist(), self._visible[first:last].tolist(), strict=True)
        return tuple(Annotation(*pair) for pair in pairs)

    def files(self, scenes: Iterable[int]) -> set[Path]:
        """The shards of these scenes."""
        return {self._shards[number] for number in np.unique(self._shard_of[list(scenes)])}

    def _load(self, path: Path, promised: dict[int, set[str]]) -> tuple[Sample, ...]:
        try:
            samples = load_index(path, self._index_folder)
            lost = promised.get(shard_number(path), set()) - {sample.key for sample in samples}
            if lost:
                raise ValueError(
                    f"{path.name}: {len(lost)} samples of {KEY_TABLE} are missing, as {min(lost)}."
                )
            return samples
        except ValueError as error:
            if self._on_broken == "raise":
                remedy = "Fetch it again, or leave such shards out with `on_broken` 'skip'."
                raise ValueError(f"ShardReader: {error} {remedy}") from None
            self.broken += (BrokenShard(path, str(error)),)
            return ()

    def _flatten(self, shards: list[tuple[Sample, ...]]) -> None:
        """Flat arrays, which the processes of a loader share; a million samples as objects would be copied."""
        samples = [sample for shard in shards for sample in shard]
        self.keys: Sequence[PictureKey] = [PictureKey.parse(sample.key) for sample in samples]
        if len(set(self.keys)) != len(self.keys):
            twice = next(key for key in self.keys if list(self.keys).count(key) > 1)
            fail("ShardReader", "folder", "one with distinct keys", f"{twice} twice in {self.folder}")
        self._shard_of = np.repeat(np.arange(len(shards)), [len(shard) for shard in shards])
        self._spans = np.array([(sample.start, sample.end) for sample in samples], np.int64).reshape(-1, 2)
        annotations = [annotation for sample in samples for annotation in sample.annotations]
        self._first_instance = np.cumsum([0, *(len(sample.annotations) for sample in samples)])
        self._obj_id = np.array([annotation.obj_id for annotation in annotations], np.int64)
        self._visible = np.array([annotation.visible_fraction for annotation in annotations])


def scene_from_members(
    key: PictureKey, members: dict[str, bytes], shard: str, centres: Mapping[int, Tensor]
) -> Scene:
    """The scene of a sample: ending -> content of its members; `shard` names the place in messages.

    `centres` are the middles of its objects, as of `check_scene`.
    """
    where = {suffix: f"{shard}: member {key}.{suffix}" for suffix in members}
    table = {
        suffix.removesuffix(".json"): parse_json(data, where[suffix])
        for suffix, data in members.items()
        if suffix.endswith(".json")
    }
    rgb_suffix = next(suffix for suffix in RGB_SUFFIXES if suffix in members)
    rgb = decode_rgb(members[rgb_suffix], where[rgb_suffix])
    size = (rgb.shape[1], rgb.shape[2])
    K = parse_intrinsics(table["camera"], size, where["camera.json"], source=str(Path(shard).parent))
    depth_scale = parse_depth_scale(table["camera"], where["camera.json"])
    depth = decode_depth(members["depth.png"], depth_scale, where["depth.png"])
    scene = Scene(key, rgb, depth, K, ())
    instances = _instances(table, size, f"{shard}: member {key}")
    return check_scene(scene._replace(instances=instances), f"{shard}: sample {key}", centres)


def _instances(table: dict[str, Any], size: tuple[int, int], where: str) -> tuple[Instance, ...]:
    """Instances in the order of the file; one without a mask in the file has no visible pixel."""
    annotations = parse_annotations(table["gt"], table["gt_info"], f"{where}.gt_info.json")
    instances = []
    for index, annotation in enumerate(annotations):
        rle = table["mask_visib"].get(str(index))
        try:
            mask = torch.zeros(size, dtype=torch.bool) if rle is None else decode_mask(rle)
        except ValueError as error:
            raise ValueError(f"{where}.mask_visib.json, instance {index}: {error}") from None
        pose = parse_pose(table["gt"][index], f"{where}.gt.json, instance {index}")
        full_box = parse_full_box(table["gt_info"][index], f"{where}.gt_info.json, instance {index}")
        mask_where = f"{where}.mask_visib.json, instance {index}"
        instances.append(build_instance(annotation, pose, mask, full_box, mask_where))
    return tuple(instances)


def shard_number(shard: Path | str) -> int:
    """The number in the name of a shard.

    >>> shard_number("shard-000012.tar")
    12
    """
    return int(re.findall(r"\d+", Path(shard).stem)[-1])


def _read_key_table(folder: Path) -> dict[int, set[str]]:
    """Number of a shard -> its keys, from the folder's table if it has one; a shard is a number or a name."""
    path = folder / KEY_TABLE
    keys: dict[int, set[str]] = {}
    if path.is_file():
        for key, shard in table_in(parse_json(path.read_bytes(), str(path)), str(path)).items():
            is_name = isinstance(shard, str) and any(map(str.isdecimal, shard))
            number = shard_number(shard) if is_name else whole_in(shard, f"{path}: the shard of {key}")
            keys.setdefault(number, set()).add(key)
    return keys


def _with_progress(paths: list[Path]) -> Any:
    """The paths, with a bar where reading them for the first time takes long."""
    return progress_bar(paths, "reading shards") if len(paths) > 20 else paths
