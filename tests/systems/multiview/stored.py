"""Files of samples for tests: a made-up session as preprocessing would store it, with pictures of one colour."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from refkp.systems.multiview.body.species import quadruped
from refkp.systems.multiview.crops import crop_box, crop_intrinsics, crop_points, yx_from_pixels
from refkp.systems.multiview.data.generator import MadeUpSession, make_session
from refkp.systems.multiview.data.spec import SessionSpec
from refkp.systems.multiview.store.schema import Dimensions
from refkp.systems.multiview.store.writing import StoreWriter, complete_rows

JOINTS = quadruped().joint_names

SIZE = 32
SPEC = SessionSpec(
    num_frames=12, num_views=4, size=(240, 320), noise_px=0.0, missing=0.1, outliers=0.0, k1=0.0
)


def picture(frame: int, view: int) -> bytes:
    """A picture with a gradient, of its own for each frame and view."""
    ramp = np.linspace(30, 200, SIZE)
    pixels = np.stack(
        (ramp[None] + 0 * ramp[:, None], ramp[:, None] + 0 * ramp[None], 0 * ramp[:, None] + 0 * ramp)
    )
    pixels[2] = 20 * (frame % 8) + 10 * view
    stream = io.BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0).astype(np.uint8)).save(stream, format="PNG")
    return stream.getvalue()


def stored_rows(session: MadeUpSession, view_mask: np.ndarray, name: str) -> dict[str, Any]:
    """The rows of a session [F frames] of 240 x 320, the whole picture shown."""
    rig, count = session.calibration.rig, len(view_mask)
    affine = crop_box("whole", (320, 240)).affine(SIZE)
    labels = torch.from_numpy(session.labels[:count])
    visible = torch.isfinite(labels).all(-1)
    yx = yx_from_pixels(crop_points(affine, labels), torch.tensor([SIZE, SIZE]))
    K = crop_intrinsics(affine, rig.K)
    valid = np.ones((count, len(JOINTS)), dtype=bool)
    valid[:, -1] = False

    def each(part: torch.Tensor) -> np.ndarray:
        return np.broadcast_to(part.numpy(), (count, *part.shape)) * view_mask.reshape(
            *view_mask.shape, *[1] * (part.dim() - 1)
        )

    return {
        "view_mask": view_mask,
        "keypoints_2d": torch.where(visible[..., None], yx, 0).numpy() * view_mask[..., None, None],
        "keypoint_visibility": visible.numpy() * view_mask[..., None],
        "has_camera": view_mask,
        "camera_intrinsics": each(K),
        "camera_extrinsics_R": each(rig.R),
        "camera_extrinsics_t": each(rig.t),
        "image_sizes": np.where(view_mask[..., None], SIZE, 0),
        "raw_image_size": np.where(view_mask[..., None], (320, 240), 0),
        "crop_affine": each(affine.expand(len(rig.K), 2, 3)),
        "keypoints_3d": session.points[:count] * valid[..., None],
        "keypoints_3d_valid": valid,
        "has_3d_data": valid.any(1),
        "session_name": [name] * count,
        "frame_idx": np.arange(count),
    }


def write_store(
    path: Path,
    *,
    view_mask: np.ndarray | None = None,
    sessions: Sequence[str] = ("one",),
    spec: SessionSpec = SPEC,
    attributes: Mapping[str, Any] | None = None,
    changed: Mapping[str, Any] | None = None,
) -> Path:
    """A file of sessions with the frames of `spec`.

    Args:
        view_mask: bool [F,V] of each session; by default view 1 misses frames 3 and 4, view 3 the even ones.
        attributes: of the metadata, instead of the usual ones; None leaves one out.
        changed: rows instead of the usual ones, of each session.
    """
    if view_mask is None:
        view_mask = np.ones((spec.num_frames, spec.num_views), dtype=bool)
        view_mask[3:5, 1] = view_mask[::2, 3] = False
    names = [f"cam{view}" for view in range(spec.num_views)]
    dimensions = Dimensions(spec.num_views, len(JOINTS), 2)
    with StoreWriter(path, dimensions, len(sessions) * len(view_mask)) as writer:
        for seed, name in enumerate(sessions):
            rows = {**stored_rows(make_session(spec, seed), view_mask, name), **(changed or {})}
            jpegs = [
                [picture(f, v) if there else b"" for v, there in enumerate(row)]
                for f, row in enumerate(view_mask)
            ]
            writer.append(complete_rows(rows, names, dimensions), jpegs)
        told = {
            "canonical_camera_order": json.dumps(names),
            "target_resolution": SIZE,
            "joint_names": json.dumps(list(JOINTS)),
            "world_unit": "mm",
            "world_scale": 0.001,
            "pixel_convention": "edge",
            "undistort_images": True,
            **(attributes or {}),
        }
        writer.describe({key: value for key, value in told.items() if value is not None})
    return path
