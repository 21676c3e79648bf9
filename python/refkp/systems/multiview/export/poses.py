"""Motions as arrays: `poses.npz` with the numbers, `poses.json` with what they mean. Source: spec multiview h."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, get_args
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from refkp import __version__
from refkp._files import whole_file, write_json
from refkp.data.units import Unit
from refkp.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from refkp.systems.multiview.body.model import Body
from refkp.systems.multiview.body.motion import BodyMotion
from refkp.systems.multiview.export.clip import Axis, Clip
from refkp.systems.multiview.export.tables import Table, read_table

SCHEMA_VERSION = 1
ARRAYS, MEANING = "poses.npz", "poses.json"

#: What a motion of a body depends on, joints at rest apart: those that a regressor gives depend on the rest.
_MOVED_BY = ("vertices", "faces", "weights", "regressor", "shapedirs", "posedirs")


def write_motion(folder: Path | str, clip: Clip) -> tuple[Path, Path]:
    """Write a clip as `poses.npz` and `poses.json`.

    The arrays: `poses` [F,J,3] (axis-angle, radians, of each joint against its parent), `trans` [F,3] (of the root
    joint, unit of the world), `betas` [nb], `betas_trans` [J,3] (offsets of joints, unit of the body), `mesh_scale`
    [F], `frames` [F] (numbers of video frames) and `fps`. Each has the floating type that it has in the motion.

    Returns:
        Both paths.
    """
    folder, motion = Path(folder), clip.motion
    turns = matrix_to_axis_angle(motion.rotations.detach().double()).to(motion.rotations.dtype)
    arrays: dict[str, Any] = {
        "poses": _numpy(turns),
        "trans": _numpy(motion.trans),
        "betas": _numpy(motion.betas),
        "betas_trans": _numpy(motion.offsets),
        "mesh_scale": _numpy(motion.size.expand(len(motion.frames))),
        "frames": _numpy(motion.frames).astype(np.int64),
        "fps": np.array(clip.fps),
    }
    with whole_file(folder / ARRAYS) as unfinished:
        np.savez_compressed(unfinished, **arrays)
        digest = _digest_of_file(unfinished)
    write_json(folder / MEANING, {**_meaning(clip), "arrays": {"file": ARRAYS, "sha256": digest}})
    return folder / ARRAYS, folder / MEANING


def read_motion(folder: Path | str, body: Body) -> Clip:
    """The clip of a folder that `write_motion` wrote.

    Args:
        folder: with `poses.npz` and `poses.json`.
        body: the body that moves, the same as was written.

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: files of another schema or of two different motions, another body, or arrays that do not fit.
    """
    path = Path(folder) / MEANING
    table = read_table("read_motion", path)
    table.require("schema_version", SCHEMA_VERSION, "Write the motion again with this version of refkp.")
    table.require("rotation_representation", "axis_angle")
    arrays = _arrays(Path(folder) / ARRAYS, Table(table.value("arrays"), "read_motion", f"{path}: arrays"))
    of_body = Table(table.value("body"), "read_motion", f"{path}: body")
    if of_body.text("sha256") != body_digest(body):
        remedy = "A motion means nothing on another body: read the same body file."
        rule = f"that of the body given, of {body.num_joints} joints"
        table.fail("body", rule, f"{of_body.text('name')}, {of_body.text('sha256')}", remedy)
    try:
        return Clip(body, _motion(arrays), table.number("fps"), of_body.text("name"), *_world(table))
    except (KeyError, IndexError, ValueError) as error:
        if str(path) in str(error):
            raise
        raise ValueError(f"read_motion: {path.with_name(ARRAYS)}: {error}") from error


def body_digest(body: Body) -> str:
    """SHA-256 of what a motion depends on: the same in float32 and float64, and for the body of a file of it."""
    digest = hashlib.sha256()
    told: dict[str, Any] = {name: getattr(body, name) for name in _MOVED_BY}
    told |= {"rest_joints": body.rest_joints if body.regressor is None else None}
    for name, value in told.items():
        digest.update(name.encode())
        if isinstance(value, Tensor):
            array = _numpy(value)
            array = array.astype("<f4" if value.is_floating_point() else "<i8")
            digest.update(str(array.shape).encode() + array.tobytes())
    digest.update(repr((body.parents, body.joint_names, tuple(map(float, body.trans_sign)))).encode())
    return digest.hexdigest()


def _meaning(clip: Clip) -> dict[str, object]:
    body, motion = clip.body, clip.motion
    return {
        "schema_version": SCHEMA_VERSION,
        "written_by": f"refkp {__version__}",
        "body": {"name": clip.body_name, "sha256": body_digest(body)},
        "n_frames": len(motion.frames),
        "n_joints": body.num_joints,
        "n_betas": len(motion.betas),
        "joint_names": list(body.joint_names),
        "parents": list(body.parents),
        "root_joint_index": 0,
        "static_joint_locs": body.regressor is None,
        "rotation_representation": "axis_angle",
        "rotations_are": "radians, of a joint against its parent; of the root, against the world",
        "fps": clip.fps,
        "unit": clip.unit,
        "world_axes": {"handedness": "right", "up": clip.up},
    }


def _world(table: Table) -> tuple[Unit, Axis]:
    unit, axes = table.text("unit"), table.value("world_axes")
    up = axes.get("up") if isinstance(axes, dict) else None
    for key, value, choices in (("unit", unit, get_args(Unit)), ("world_axes", up, get_args(Axis))):
        if value not in choices:
            table.fail(key, f"one of {', '.join(choices)}", value)
    return unit, up  # type: ignore[return-value]


def _arrays(path: Path, told: Table) -> dict[str, np.ndarray]:
    if _digest_of_file(path) != told.text("sha256"):
        remedy = "The two files are of different motions, or one was changed: write them again."
        told.fail("sha256", f"that of {path}", told.text("sha256"), remedy)
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (ValueError, OSError, EOFError, KeyError, BadZipFile) as error:
        raise ValueError(f"read_motion: {path} is no .npz of arrays: {error}.") from error


def _motion(arrays: dict[str, np.ndarray]) -> BodyMotion:
    turns = torch.from_numpy(arrays["poses"])
    sizes = torch.from_numpy(arrays["mesh_scale"])
    if not bool((sizes == sizes[0]).all()):
        raise ValueError(
            "`mesh_scale` must be the same in all frames; the size of an animal does not change."
        )
    return BodyMotion(
        frames=torch.from_numpy(arrays["frames"]),
        rotations=axis_angle_to_matrix(turns.double()).to(turns.dtype),
        trans=torch.from_numpy(arrays["trans"]),
        betas=torch.from_numpy(arrays["betas"]),
        offsets=torch.from_numpy(arrays["betas_trans"]),
        size=sizes[0],
    )


def _numpy(value: Tensor) -> np.ndarray:
    return value.detach().cpu().numpy()


def _digest_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
