"""A scene written as a folder of the BOP challenge."""

from __future__ import annotations

import json
from pathlib import Path

from torch import Tensor

from refkp.data.images import encode_depth, encode_rgb
from refkp.systems.pose.scene import Scene


def mask_picture(mask: Tensor) -> bytes:
    """A PNG with 255 inside, 0 outside."""
    return encode_rgb(255 * mask.byte().expand(3, -1, -1), ".png")


def write_scene(folder: Path, scene: Scene) -> None:
    """The one picture of a scene, number 0, with its tables."""
    assert scene.depth is not None
    for name in ("rgb", "depth", "mask_visib"):
        (folder / name).mkdir(parents=True)
    (folder / "rgb/000000.png").write_bytes(encode_rgb(scene.rgb, ".png"))
    (folder / "depth/000000.png").write_bytes(encode_depth(scene.depth, 0.1))
    gt, info = [], []
    for number, instance in enumerate(scene.instances):
        (folder / f"mask_visib/000000_{number:06d}.png").write_bytes(mask_picture(instance.mask))
        R, t = instance.cam_from_obj[:3, :3].flatten().tolist(), instance.cam_from_obj[:3, 3].tolist()
        gt.append({"obj_id": instance.obj_id, "cam_R_m2c": R, "cam_t_m2c": t})
        assert instance.full_box is not None
        x0, y0, x1, y1 = instance.full_box
        info.append({"visib_fract": instance.visible_fraction, "bbox_obj": [x0, y0, x1 - x0, y1 - y0]})
    camera = {"cam_K": scene.K.flatten().tolist(), "depth_scale": 0.1}
    for name, entry in {"camera": camera, "gt": gt, "gt_info": info}.items():
        (folder / f"scene_{name}.json").write_text(json.dumps({"0": entry}))
