"""What shards and BOP folders say of a picture in JSON: cameras, poses, visibility. Source: spec pose 7.1.

Both write a camera {cam_K, depth_scale}, a list of poses {obj_id, cam_R_m2c, cam_t_m2c} and a list of
visibilities {visib_fract, bbox_obj}. Lengths are millimetres; metres, and a depth scale that does not fit the
poses, are found here and raise.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from refkp.geometry.rotations import LARGEST_ROTATION_ERROR, rotation_error
from refkp.systems.pose.crops import Box, mask_box
from refkp.systems.pose.data.json_values import (
    entry_in,
    list_in,
    number_in,
    numbers_in,
    parse_json,
    table_in,
    whole_in,
)
from refkp.systems.pose.scene import Instance, Scene
from refkp.systems.pose.units import PLAUSIBLE_DEPTH_FACTOR

#: A published rotation with a larger `rotation_error` is counted in a warning.
EXACT_ROTATION = 1e-3


class Annotation(NamedTuple):
    """What is known of an instance without decoding its picture."""

    obj_id: int
    visible_fraction: float


def parse_depth_scale(entry: Any, where: str) -> float:
    """The millimetres of one step of the depth map."""
    if "depth_scale" not in table_in(entry, where):
        raise ValueError(
            f"{where}: `depth_scale` is missing, so the unit of the depth map is unknown. "
            "Add it: millimetres per step, 0.1 in the published shards."
        )
    scale = number_in(entry["depth_scale"], f"{where}: `depth_scale`")
    if scale <= 0:
        raise ValueError(
            f"{where}: `depth_scale` must be above 0; got {scale:g}. Write millimetres per step."
        )
    return scale


def parse_annotations(gt: Any, gt_info: Any, where: str) -> tuple[Annotation, ...]:
    """Object and visibility of each instance."""
    poses, infos = list_in(gt, f"{where}: poses"), list_in(gt_info, f"{where}: visibilities")
    if len(poses) != len(infos):
        raise ValueError(f"{where}: {len(poses)} poses but {len(infos)} visibilities. Fetch both again.")
    return tuple(
        Annotation(
            whole_in(entry_in(pose, "obj_id", where), f"{where}: `obj_id`"), _visible_fraction(info, where)
        )
        for pose, info in zip(poses, infos, strict=True)
    )


def _visible_fraction(info: Any, where: str) -> float:
    """`visib_fract`; where it is null, for 0 of 0 pixels say, that of the pixel counts beside it."""
    told = entry_in(info, "visib_fract", where)
    if told is not None:
        return number_in(told, f"{where}: `visib_fract`")
    visible, whole = (
        None if info.get(name) is None else number_in(info[name], f"{where}: `{name}`")
        for name in ("px_count_visib", "px_count_all")
    )
    if visible is None or (visible > 0 and not whole):
        raise ValueError(
            f"{where}: `visib_fract` is null, and `px_count_visib` of `px_count_all` does not tell it either. "
            "Write a number, 0 for an object that is not seen."
        )
    return visible / whole if visible and whole else 0.0


def parse_pose(entry: Any, where: str) -> Tensor:
    """`cam_from_obj` float64 [4,4] of an entry, as published; it must be a rigid motion.

    Published rotations are not all exact: `LARGEST_ROTATION_ERROR` passes, and `num_inexact` counts them.
    """
    pose = torch.eye(4, dtype=torch.float64)
    for name, target in (("cam_R_m2c", pose[:3, :3]), ("cam_t_m2c", pose[:3, 3])):
        target.copy_(numbers_in(entry_in(entry, name, where), tuple(target.shape), f"{where}: `{name}`"))
    if not float(rotation_error(pose[:3, :3])) <= LARGEST_ROTATION_ERROR:
        raise ValueError(f"{where}: `cam_R_m2c` is no rotation: {pose[:3, :3].tolist()}. Correct it.")
    return pose


def num_inexact(poses: Iterable[Mapping[str, Any]]) -> int:
    """How many `cam_R_m2c` are rotations by less than `EXACT_ROTATION` alone; broken ones are not counted."""
    rows = [pose.get("cam_R_m2c") for pose in poses]
    numbers = [row for row in rows if isinstance(row, list) and len(row) == 9 and all(map(_is_small, row))]
    error = rotation_error(torch.tensor(numbers, dtype=torch.float64).reshape(-1, 3, 3))
    return int(((error > EXACT_ROTATION) & (error <= LARGEST_ROTATION_ERROR)).sum())


def _is_small(value: Any) -> bool:
    """A number as the elements of rotations are."""
    return isinstance(value, (int, float)) and abs(value) <= 2


def warn_of_inexact(reader: str, count: int, total: int) -> None:
    """One message of how many rotations are not exact, if any."""
    if count:
        warnings.warn(
            f"{reader}: {count} of {total} rotations are orthonormal to no better than {EXACT_ROTATION:g}. They are "
            "taken as published, and count as rigid.",
            stacklevel=3,
        )


def parse_full_box(info: Any, where: str) -> Box | None:
    """`bbox_obj` (x, y, width, height) as corners, where the file has it."""
    if "bbox_obj" not in table_in(info, where):
        return None
    place = f"{where}: `bbox_obj`"
    x, y, width, height = (
        whole_in(value, place) for value in numbers_in(info["bbox_obj"], (4,), place).tolist()
    )
    return x, y, x + width, y + height


def build_instance(
    annotation: Annotation, pose: Tensor, mask: Tensor, full_box: Box | None, where: str
) -> Instance:
    """An instance with the box of its mask.

    Raises:
        ValueError: an empty mask of an object that is said to be visible.
    """
    if annotation.visible_fraction > 0 and not bool(mask.any()):
        raise ValueError(
            f"{where}: the mask is empty, but `visib_fract` is {annotation.visible_fraction:g}. "
            "Correct the mask or the visibility."
        )
    return Instance(annotation.obj_id, pose, mask, visible_box(mask), annotation.visible_fraction, full_box)


def visible_box(mask: Tensor) -> Box:
    """The box of a mask [H,W], zeros if it is empty.

    >>> visible_box(torch.zeros(2, 3, dtype=torch.bool))
    (0, 0, 0, 0)
    """
    return mask_box(mask) if bool(mask.any()) else (0, 0, 0, 0)


def read_centres(root: Path) -> dict[int, Tensor]:
    """Object id -> middle of its box [3] in millimetres, of the models of a data set that tells them.

    Models stand in `root/models`, with `models_info.json`; without one, or with one of another form, none is known.
    """
    path = root / "models" / "models_info.json"
    table = parse_json(path.read_bytes(), str(path)) if path.is_file() else {}
    entries = table.items() if isinstance(table, dict) else ()
    found = {whole_in(obj_id, f"{path}: a name"): box_middle(entry, str(path)) for obj_id, entry in entries}
    return {obj_id: centre for obj_id, centre in found.items() if centre is not None}


def box_middle(entry: Any, where: str) -> Tensor | None:
    """The middle [3] of the box of an entry of `models_info.json`, the file `where`; None if it tells no box."""
    names = [f"{kind}_{axis}" for kind in ("min", "size") for axis in "xyz"]
    if any(name not in table_in(entry, where) for name in names):
        return None
    low, size = numbers_in([entry[name] for name in names], (6,), f"{where}: a box").split(3)
    return low + size / 2


def check_scene(scene: Scene, where: str, centres: Mapping[int, Tensor]) -> Scene:
    """The scene itself, once sizes agree and depth and poses are in one unit.

    Args:
        scene: a picture with its objects.
        where: names it in messages.
        centres: the middles of objects in their frames, where they are known (`read_centres`). Of another object
            the origin stands for it if it is seen where the object is; else its distance tells nothing.

    Raises:
        ValueError: a map of another size, depth that is NaN, infinite or negative, an object behind the
            camera, or one whose median depth is more than `PLAUSIBLE_DEPTH_FACTOR` away from its distance.
    """
    _check_maps(scene, where)
    for index, instance in enumerate(scene.instances):
        place = f"{where}, instance {index} (obj_{instance.obj_id:06d})"
        distance = _distance(instance, scene.K, centres.get(instance.obj_id))
        if distance is None:
            continue
        if distance <= 0:
            got = instance.cam_from_obj[:3, 3].tolist()
            told = f"by `cam_t_m2c` {got} and models_info.json the object is not in front of the camera"
            raise ValueError(f"{place}: {told}.")
        if scene.depth is not None:
            _check_unit(scene.depth[instance.mask], distance, place)
    return scene


def _check_maps(scene: Scene, where: str) -> None:
    size = scene.rgb.shape[1:]
    depth = [] if scene.depth is None else [scene.depth]
    maps = {"mask": [instance.mask for instance in scene.instances], "depth": depth}
    for name, tensors in maps.items():
        for tensor in tensors:
            if tensor.shape != size:
                raise ValueError(
                    f"{where}: {name} {list(tensor.shape)} and picture {list(size)} differ in size."
                )
    for tensor in depth:
        bad = int((~torch.isfinite(tensor) | (tensor < 0)).sum())
        if bad:
            raise ValueError(
                f"{where}: depth is NaN, infinite or negative at {bad} pixels. Write 0 for unknown."
            )


def _distance(instance: Instance, K: Tensor, centre: Tensor | None) -> float | None:
    """How far along the optical axis an object is; None if its pose does not tell."""
    pose = instance.cam_from_obj
    if centre is not None:
        return float(pose[2, :3] @ centre + pose[2, 3])
    x, y, z = (K @ pose[:3, 3]).tolist()
    x0, y0, x1, y1 = instance.full_box or instance.box
    if z != 0 and not (abs(x / z - (x0 + x1) / 2) <= x1 - x0 and abs(y / z - (y0 + y1) / 2) <= y1 - y0):
        return None  # the origin of its frame is elsewhere
    return z


def _check_unit(depth: Tensor, distance: float, where: str) -> None:
    known = depth[depth > 0]
    if not len(known):
        return
    ratio = float(known.median()) / distance
    if not 1 / PLAUSIBLE_DEPTH_FACTOR <= ratio <= PLAUSIBLE_DEPTH_FACTOR:
        raise ValueError(
            f"{where}: the median depth {float(known.median()):g} mm does not fit the pose, whose object is "
            f"{distance:g} mm away. Poses must be in millimetres, not metres (a factor of 1000), and so must the "
            "models (models_info.json) and depth times `depth_scale`; correct the one that is not."
        )
