"""Blocks of samples: what a process makes at a time, a whole file of samples each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from refkp._files import whole_file
from refkp.data.images import encode_rgb
from refkp.data.video import Video
from refkp.geometry.rig import Rig
from refkp.ops import camera_warp
from refkp.systems.multiview.crops import crop_box, crop_intrinsics, crop_points, yx_from_pixels
from refkp.systems.multiview.preprocessing.planning import Instants, SessionPlan
from refkp.systems.multiview.preprocessing.spec import PreprocessSpec
from refkp.systems.multiview.store.schema import CHUNK, Dimensions
from refkp.systems.multiview.store.writing import StoreWriter, complete_rows


class Block(NamedTuple):
    """Samples of one session, and the file to which they go."""

    path: Path
    session: str
    videos: tuple[Path | None, ...]  # v
    rig: Rig | None
    instants: Instants
    cameras: tuple[int, ...]  # which of the file's cameras each view is
    names: tuple[str, ...]  # of those, V


def blocks_of(plan: SessionPlan, names: tuple[str, ...], folder: Path, first: int) -> list[Block]:
    """The blocks of a session, numbered from `first` on."""
    cameras = tuple(names.index(view) for view in plan.view_names)
    starts = range(0, len(plan.instants.frames), CHUNK)
    return [
        Block(
            folder / f"block-{first + number:06d}.h5",
            plan.name,
            plan.videos,
            plan.rig,
            plan.instants.rows(start, start + CHUNK),
            cameras,
            names,
        )
        for number, start in enumerate(starts)
    ]


def write_blocks(blocks: Sequence[Block], spec: PreprocessSpec) -> Iterator[Path]:
    """Write blocks of one session, one after another, each whole; their frames should increase."""
    with ExitStack() as stack:
        videos = [None if path is None else stack.enter_context(Video(path)) for path in blocks[0].videos]
        for block in blocks:
            with whole_file(block.path) as unfinished:
                _write(unfinished, block, spec, videos)
            yield block.path


def _write(path: Path, block: Block, spec: PreprocessSpec, videos: Sequence[Video | None]) -> None:
    count, _, joints = block.instants.visibility.shape
    dimensions = Dimensions(len(block.names), joints)
    affines = _affines(block.instants, spec, videos)
    rows = _rows(block, spec, videos, affines)
    with StoreWriter(path, dimensions, count) as writer:
        jpegs = [_jpegs(block, row, spec, videos, affines[row]) for row in range(count)]
        writer.append(complete_rows(rows, block.names, dimensions), jpegs)


def _affines(instants: Instants, spec: PreprocessSpec, videos: Sequence[Video | None]) -> np.ndarray:
    """Stored pixel from raw pixel, float64 [n,v,2,3]; zeros where the view is not used."""
    affines = np.zeros((*instants.used.shape, 2, 3))
    for row, view in zip(*np.nonzero(instants.used), strict=True):
        video = videos[view]
        assert video is not None  # a view without one is not used
        labels = torch.from_numpy(instants.xy[row, view])
        affines[row, view] = crop_box(spec.crop, video.size, labels, spec.margin).affine(spec.size).numpy()
    return affines


def _rows(
    block: Block, spec: PreprocessSpec, videos: Sequence[Video | None], affines: np.ndarray
) -> dict[str, np.ndarray]:
    """The fields of the schema, each view in the slot of its camera."""
    instants, count = block.instants, len(affines)
    used = instants.used
    known = np.isfinite(instants.points).all(-1)
    sizes = np.array([(0, 0) if video is None else video.size for video in videos])
    views: dict[str, np.ndarray] = {
        "view_mask": used,
        "keypoints_2d": _shares(affines, instants.xy, spec.size),
        "keypoint_visibility": instants.visibility,
        "crop_affine": affines,
        "image_sizes": np.full((count, len(videos), 2), spec.size),
        "raw_image_size": np.broadcast_to(sizes, (count, len(videos), 2)),
    }
    if block.rig is not None:
        _, lens, R, t = (np.broadcast_to(part.numpy(), (count, *part.shape)) for part in block.rig)
        views |= {
            "has_camera": used,
            "camera_intrinsics": crop_intrinsics(torch.from_numpy(affines), block.rig.K).numpy(),
            "camera_extrinsics_R": R,
            "camera_extrinsics_t": t,
            "camera_distortion": lens,
        }
    return {
        **{name: _in_slots(values, used, block) for name, values in views.items()},
        "keypoints_3d": np.where(known[..., None], instants.points, 0),
        "keypoints_3d_valid": known,
        "has_3d_data": known.any(1),
        "session_name": np.full(count, block.session, dtype=object),
        "frame_idx": instants.frames,
    }


def _shares(affines: np.ndarray, xy: np.ndarray, size: int) -> np.ndarray:
    """Labels [n,v,J,2] in raw pixels as the file has them: (y, x) in sides of the picture, zeros where missing."""
    pixels = crop_points(torch.from_numpy(affines), torch.from_numpy(xy))
    shares = yx_from_pixels(pixels, torch.tensor([size, size])).numpy()
    return np.where(np.isfinite(shares), shares, 0)


def _in_slots(values: np.ndarray, used: np.ndarray, block: Block) -> np.ndarray:
    """Values [n,v,...] of views in the slots of their cameras [n,V,...]; zeros where there is no view."""
    slots = np.zeros((len(values), len(block.names), *values.shape[2:]), dtype=values.dtype)
    slots[:, block.cameras] = np.where(used.reshape(*used.shape, *[1] * (values.ndim - 2)), values, 0)
    return slots


def _jpegs(
    block: Block, row: int, spec: PreprocessSpec, videos: Sequence[Video | None], affines: np.ndarray
) -> list[bytes]:
    """The pictures of a sample by slot; none where there is no view."""
    jpegs = [b""] * len(block.names)
    for view in np.flatnonzero(block.instants.used[row]).tolist():
        video = videos[view]
        assert video is not None
        picture = video.frame(int(block.instants.frames[row]))
        rig = block.rig if spec.undistort else None
        camera = None if rig is None else (rig.K[view], rig.distortion[view])
        jpegs[block.cameras[view]] = stored_picture(
            picture, camera, affines[view], spec.size, spec.jpeg_quality
        )
    return jpegs


def stored_picture(
    picture: NDArray[np.uint8],
    camera: tuple[torch.Tensor, torch.Tensor] | None,
    affine: np.ndarray,
    size: int,
    quality: int,
) -> bytes:
    """Undistort, crop and resize a picture in one warp, as the bytes of a JPEG file.

    Args:
        picture: uint8 [H,W,3].
        camera: K [3,3] in edge coordinates and distortion [5]; None: the picture stays distorted.
        affine: [2,3], stored pixel from raw pixel; what lies beyond the picture is black.
        size: side of the result.
        quality: 1 to 100.
    """
    K, lens = camera or (torch.eye(3, dtype=torch.float64), torch.zeros(5, dtype=torch.float64))
    image = torch.from_numpy(picture).permute(2, 0, 1)[None]
    warped = camera_warp(image, K[None], lens[None], torch.from_numpy(affine)[None], size=(size, size))
    return encode_rgb(warped[0], ".jpg", quality)
