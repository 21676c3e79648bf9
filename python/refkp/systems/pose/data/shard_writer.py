"""Scenes into the shards that `ShardReader` reads. Source: spec pose 7.1."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from refkp._checks import fail
from refkp._files import write_text
from refkp.data.images import encode_depth, encode_rgb
from refkp.systems.pose.crops import Box
from refkp.systems.pose.data.records import check_scene
from refkp.systems.pose.data.rle import encode_mask
from refkp.systems.pose.data.shard_index import load_index
from refkp.systems.pose.data.shards import KEY_TABLE, shard_number
from refkp.systems.pose.scene import Instance, Scene


@dataclass(frozen=True)
class ShardWriter:
    """Writes shards, each whole or not at all.

    Args:
        folder: where they go.
        depth_scale: millimetres per step of the 16-bit depth maps; 0.1 reaches 6.5 m.
        image_format: "jpg" as in the published sets, or "png" to keep every bit.
        compressed_masks: write masks as COCO's strings instead of lists.
        centres: the middles of the objects in their frames, as of `check_scene`.
    """

    folder: Path
    depth_scale: float = 0.1
    image_format: Literal["jpg", "png"] = "jpg"
    compressed_masks: bool = False
    centres: Mapping[int, Tensor] = field(default_factory=dict)

    def path(self, number: int) -> Path:
        """The file of a shard."""
        return self.folder / f"shard-{number:06d}.tar"

    def write(self, number: int, scenes: Iterable[Scene]) -> Path:
        """Write a shard and its index; equal scenes give equal bytes.

        Raises:
            ValueError: a scene without depth, or one that `check_scene` refuses.
        """
        path = self.path(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with tarfile.open(unfinished, "w", format=tarfile.USTAR_FORMAT) as archive:
                for scene in scenes:
                    for suffix, data in self._members(scene).items():
                        entry = tarfile.TarInfo(f"{scene.key}.{suffix}")
                        entry.size = len(data)
                        archive.addfile(entry, io.BytesIO(data))
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
        load_index(path)
        return path

    def write_key_table(self) -> None:
        """Write `key_to_shard.json` for the shards that are there."""
        shards = sorted(self.folder.glob("shard-*.tar"))
        table = {sample.key: shard_number(path) for path in shards for sample in load_index(path)}
        write_text(self.folder / KEY_TABLE, json.dumps(table))

    def _members(self, scene: Scene) -> dict[str, bytes]:
        check_scene(scene, f"ShardWriter: scene {scene.key}", self.centres)
        if scene.depth is None:
            fail("ShardWriter", "scenes", "made of scenes with depth", f"{scene.key} without")
        masks = {
            str(index): encode_mask(instance.mask, compressed=self.compressed_masks)
            for index, instance in enumerate(scene.instances)
        }
        return {
            f"rgb.{self.image_format}": encode_rgb(scene.rgb, f".{self.image_format}"),
            "depth.png": encode_depth(scene.depth, self.depth_scale),
            "camera.json": _json(self._camera(scene)),
            "gt.json": _json([_pose(instance) for instance in scene.instances]),
            "gt_info.json": _json([_visibility(instance) for instance in scene.instances]),
            "mask_visib.json": _json(masks),
        }

    def _camera(self, scene: Scene) -> dict[str, Any]:
        """The world is the camera's frame."""
        world = {"cam_R_w2c": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0], "cam_t_w2c": [0.0, 0.0, 0.0]}
        return {"cam_K": scene.K.flatten().tolist(), **world, "depth_scale": self.depth_scale}


def _pose(instance: Instance) -> dict[str, Any]:
    pose = instance.cam_from_obj
    rotation, translation = pose[:3, :3].flatten().tolist(), pose[:3, 3].tolist()
    return {"obj_id": instance.obj_id, "cam_R_m2c": rotation, "cam_t_m2c": translation}


def _visibility(instance: Instance) -> dict[str, Any]:
    told = {"visib_fract": instance.visible_fraction, "bbox_visib": _x_y_width_height(instance.box)}
    return told if instance.full_box is None else {**told, "bbox_obj": _x_y_width_height(instance.full_box)}


def _x_y_width_height(box: Box) -> list[int]:
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]


def _json(content: Any) -> bytes:
    return json.dumps(content).encode()
