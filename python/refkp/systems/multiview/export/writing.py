"""A clip into a folder, in the formats asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from refkp._checks import fail, require_choice
from refkp.systems.multiview.calibration import Calibration
from refkp.systems.multiview.export.angles import write_angles
from refkp.systems.multiview.export.bvh import write_bvh
from refkp.systems.multiview.export.cameras import write_cameras
from refkp.systems.multiview.export.clip import Clip
from refkp.systems.multiview.export.gltf import write_gltf
from refkp.systems.multiview.export.obj import write_obj
from refkp.systems.multiview.export.poses import write_motion

#: What can be written.
FORMATS = ("poses", "gltf", "bvh", "csv", "obj", "cameras")


def export(
    folder: Path | str,
    clip: Clip,
    *,
    formats: Sequence[str] | None = None,
    calibration: Calibration | None = None,
    obj_frames: Sequence[int] | None = None,
) -> tuple[Path, ...]:
    """Write a clip into a folder.

    Args:
        folder: made if it is not there; files of the same names are replaced, each whole or not at all.
        clip: the animal.
        formats: of FORMATS: `poses` (poses.npz, poses.json), `gltf` (motion.glb), `bvh` (motion.bvh), `csv`
            (joint_angles.csv), `obj` (frame_NUMBER.obj), `cameras` (cameras.json). None: all of them, `cameras` if
            there is a calibration.
        calibration: what `cameras` writes, `t` in the unit of the clip.
        obj_frames: the video frames that `obj` writes; None: the first one.

    Returns:
        What was written, in the order of `formats`.

    Raises:
        ValueError: a format that is not known, cameras without a calibration, or what the format cannot hold.
    """
    if formats is None:
        formats = [name for name in FORMATS if name != "cameras" or calibration is not None]
    for name in formats:
        require_choice("export", "formats", name, FORMATS)
    if "cameras" in formats and calibration is None:
        fail("export", "calibration", "given to write `cameras`", None, "Leave `cameras` out of `formats`.")
    written: list[Path] = []
    for name in formats:
        written += _write(Path(folder), clip, name, calibration, obj_frames)
    return tuple(written)


def _write(
    folder: Path, clip: Clip, name: str, calibration: Calibration | None, obj_frames: Sequence[int] | None
) -> list[Path]:
    if name == "poses":
        return list(write_motion(folder, clip))
    if name == "obj":
        frames = [int(clip.motion.frames[0])] if obj_frames is None else obj_frames
        paths = [folder / f"frame_{frame:06d}.obj" for frame in frames]
        for path, frame in zip(paths, frames, strict=True):
            write_obj(path, clip, frame)
        return paths
    if name == "cameras" and calibration is not None:
        write_cameras(folder / "cameras.json", calibration, clip.unit)
        return [folder / "cameras.json"]
    file, write = _WRITERS[name]
    write(folder / file, clip)
    return [folder / file]


_WRITERS = {
    "gltf": ("motion.glb", write_gltf),
    "bvh": ("motion.bvh", write_bvh),
    "csv": ("joint_angles.csv", write_angles),
}
