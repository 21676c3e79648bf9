"""What shards and BOP folders say of a picture in JSON: cameras, poses, visibility. Source: spec pose 7.1.

Both write a camera {cam_K, depth_scale}, a list of poses {obj_id, cam_R_m2c, cam_t_m2c} and a list of
visibilities {visib_fract, bbox_obj}. Lengths are millimetres; metres, and a depth scale that does not fit the
poses, are found here and raise.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from refkp.geometry.rotations import LARGEST_ROTATION_ERROR, rotation_error
from refkp.systems.pose.crops import Box, mask_box
from refkp.systems.pose.scene import Instance, Scene
from refkp.systems.pose.units import PLAUSIBLE_DEPTH_FACTOR

#: A published rotation with a larger `rotation_error` is counted in a warning.
EXACT_ROTATION = 1e-3


class Annotation(NamedTuple):
    """What is known of an instance without decoding its picture."""

    obj_id: int
    visible_fraction: float


def parse_json(data: bytes | str, where: str) -> Any:
    """The content of a JSON file; an error names the file."""
    try:
        return json.loads(data)
    except ValueError as error:  # both of text and of its encoding
        raise ValueError(f"{where} is not JSON: {error}. Fetch or write it again.") from None


def parse_depth_scale(entry: Mapping[str, Any], where: str) -> float:
    """The millimetres of one step of the depth map."""
    if "depth_scale" not in entry:
        raise ValueError(
            f"{where}: `depth_scale` is missing, so the unit of the depth map is unknown. "
            "Add it: millimetres per step, 0.1 in the published shards."
        )
    return float(_numbers(entry, "depth_scale", (), where))


def parse_annotations(gt: Sequence[Any], gt_info: Sequence[Any], where: str) -> tuple[Annotation, ...]:
    """Object and visibility of each instance."""
    if len(gt) != len(gt_info):
        raise ValueError(f"{where}: {len(gt)} poses but {len(gt_info)} visibilities.")
    return tuple(
        Annotation(int(_entry(pose, "obj_id", where)), _visible_fraction(info, where))
        for pose, info in zip(gt, gt_info, strict=True)
    )


def _visible_fraction(info: Mapping[str, Any], where: str) -> float:
    """`visib_fract`; where it is null, for 0 of 0 pixels say, that of the pixel counts beside it."""
    told = _entry(info, "visib_fract", where)
    if told is not None:
        return float(told)
    visible, whole = info.get("px_count_visib"), info.get("px_count_all")
    if visible is None or (visible > 0 and not whole):
        raise ValueError(
            f"{where}: `visib_fract` is null, and `px_count_visib` of `px_count_all` does not tell it either. "
            "Write a number, 0 for an object that is not seen."
        )
    return visible / whole if visible else 0.0


def parse_pose(entry: Mapping[str, Any], where: str) -> Tensor:
    """`cam_from_obj` float64 [4,4] of an entry, as published; it must be rigid, and in front of the camera.

    Published rotations are not all exact: `LARGEST_ROTATION_ERROR` passes, and `num_inexact` counts them.
    """
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = _numbers(entry, "cam_R_m2c", (3, 3), where)
    pose[:3, 3] = _numbers(entry, "cam_t_m2c", (3,), where)
    if not float(rotation_error(pose[:3, :3])) <= LARGEST_ROTATION_ERROR:
        raise ValueError(f"{where}: `cam_R_m2c` is no rotation: {pose[:3, :3].tolist()}.")
    if pose[2, 3] <= 0:
        raise ValueError(f"{where}: `cam_t_m2c` is not in front of the camera: {pose[:3, 3].tolist()}.")
    return pose


def num_inexact(poses: Iterable[Mapping[str, Any]]) -> int:
    """How many `cam_R_m2c` are rotations by less than `EXACT_ROTATION` alone; broken ones are not counted."""
    rows = [pose.get("cam_R_m2c") for pose in poses]
    numbers = [row for row in rows if isinstance(row, list) and len(row) == 9]
    error = rotation_error(torch.tensor(numbers, dtype=torch.float64).reshape(-1, 3, 3))
    return int(((error > EXACT_ROTATION) & (error <= LARGEST_ROTATION_ERROR)).sum())


def warn_of_inexact(reader: str, count: int, total: int) -> None:
    """One message of how many rotations are not exact, if any."""
    if count:
        warnings.warn(
            f"{reader}: {count} of {total} rotations are orthonormal to no better than {EXACT_ROTATION:g}. They are "
            "taken as published, and count as rigid.",
            stacklevel=3,
        )


def parse_full_box(info: Mapping[str, Any]) -> Box | None:
    """`bbox_obj` (x, y, width, height) as corners, where the file has it."""
    if "bbox_obj" not in info:
        return None
    x, y, width, height = (int(value) for value in info["bbox_obj"])
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


def check_scene(scene: Scene, where: str) -> Scene:
    """The scene itself, once sizes agree and depth and poses are in one unit.

    Raises:
        ValueError: a map of another size, depth that is NaN, infinite or negative, or the median depth of an
            object more than `PLAUSIBLE_DEPTH_FACTOR` away from the distance of its origin.
    """
    size = scene.rgb.shape[1:]
    depth = scene.depth
    maps = {
        "mask": [instance.mask for instance in scene.instances],
        "depth": [] if depth is None else [depth],
    }
    for name, tensors in maps.items():
        for tensor in tensors:
            if tensor.shape != size:
                raise ValueError(
                    f"{where}: {name} {list(tensor.shape)} and picture {list(size)} differ in size."
                )
    if depth is not None:
        bad = int((~torch.isfinite(depth) | (depth < 0)).sum())
        if bad:
            raise ValueError(
                f"{where}: depth is NaN, infinite or negative at {bad} pixels. Write 0 for unknown."
            )
        for index, instance in enumerate(scene.instances):
            _check_unit(
                depth[instance.mask], float(instance.cam_from_obj[2, 3]), f"{where}, instance {index}"
            )
    return scene


def _check_unit(depth: Tensor, z: float, where: str) -> None:
    known = depth[depth > 0]
    if not len(known):
        return
    ratio = float(known.median()) / z
    if not 1 / PLAUSIBLE_DEPTH_FACTOR <= ratio <= PLAUSIBLE_DEPTH_FACTOR:
        raise ValueError(
            f"{where}: the median depth {float(known.median()):g} mm does not fit the pose, whose origin is "
            f"{z:g} mm away. Poses must be in millimetres, not metres (a factor of 1000), and depth times "
            "`depth_scale` too; correct the one that is not."
        )


def _numbers(entry: Mapping[str, Any], name: str, shape: tuple[int, ...], where: str) -> Tensor:
    values = torch.tensor(_entry(entry, name, where), dtype=torch.float64)
    if values.numel() != torch.Size(shape).numel() or not bool(torch.isfinite(values).all()):
        raise ValueError(
            f"{where}: `{name}` must be {torch.Size(shape).numel()} finite numbers; got {values.tolist()}."
        )
    return values.reshape(shape)


def _entry(entry: Mapping[str, Any], name: str, where: str) -> Any:
    if name not in entry:
        raise ValueError(f"{where}: `{name}` is missing; found {', '.join(sorted(entry))}.")
    return entry[name]
