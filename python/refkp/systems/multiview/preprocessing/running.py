"""From sessions to one file of samples: in blocks, by processes, going on after an interruption.

Blocks are whole files in a folder beside the result. They are joined at the end, and the folder goes.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from refkp._checks import fail
from refkp._files import put_aside
from refkp.data.units import metres
from refkp.systems.multiview.preprocessing.blocks import Block, blocks_of
from refkp.systems.multiview.preprocessing.planning import SessionPlan, plan_session
from refkp.systems.multiview.preprocessing.processes import write_missing
from refkp.systems.multiview.preprocessing.request import claim, is_finished, request_digest, request_of
from refkp.systems.multiview.preprocessing.spec import PreprocessSpec
from refkp.systems.multiview.session import Recording
from refkp.systems.multiview.store.schema import Dimensions
from refkp.systems.multiview.store.writing import StoreWriter


class Preprocessed(NamedTuple):
    """What was written, or was there already."""

    path: Path
    num_samples: int
    counts: dict[str, dict[str, int]]  # session -> what became of its frames, views and points
    num_views: dict[int, int]  # views of a sample -> number of samples
    was_there: bool


def preprocess(
    recordings: Sequence[Recording],
    out: Path | str,
    spec: PreprocessSpec,
    *,
    track: str | None = None,
    workers: int = 1,
    fresh: bool = False,
) -> Preprocessed:
    """Write the samples of sessions, as spec multiview b.

    The same call goes on where an interrupted one was, and gives the same arrays, with any number of workers.

    Args:
        recordings: of the same joints, each with another name.
        out: file of the samples; it appears when it is whole.
        spec: what is asked for.
        track: which animal, where there are several.
        workers: processes; 1 works in this one. More are spawned, so a script needs the usual
            `if __name__ == "__main__":`.
        fresh: begin again; a file that is there is put aside.

    Raises:
        ValueError: sessions that do not fit together, no sample, a video that cannot be decoded, or `out` and its
            unfinished folder are of another request.
    """
    out = Path(out)
    _require_names(recordings)
    joints = recordings[0].joints
    plans = [plan_session(recording, spec, joints, track) for recording in recordings]
    names = _camera_names(plans, spec)
    num_samples = sum(plan.counts["samples"] for plan in plans)
    _require_samples(plans, spec)
    request = request_of(recordings, spec, track)
    folder = out.with_name(f"{out.name}.unfinished")
    if fresh:
        put_aside(out)
        shutil.rmtree(folder, ignore_errors=True)
    was_there = is_finished(out, request)
    if not was_there:
        claim(folder, request)
        blocks: list[list[Block]] = []
        for plan in plans:
            blocks.append(blocks_of(plan, names, folder, sum(map(len, blocks))))
        write_missing(blocks, spec, workers, folder)
        joined = folder / "joined.h5"
        with StoreWriter(joined, Dimensions(len(names), len(joints)), num_samples) as writer:
            for block in (block for session in blocks for block in session):
                writer.append_file(block.path)
            writer.describe(
                {**_attributes(plans, names, joints, spec), "request_sha256": request_digest(request)},
                _tables(plans, request["files"]),
            )
        joined.replace(out)
    shutil.rmtree(folder, ignore_errors=True)
    counts = {plan.name: plan.counts for plan in plans}
    return Preprocessed(out, num_samples, counts, _histogram(plans), was_there)


def _require_names(recordings: Sequence[Recording]) -> None:
    names = [recording.name for recording in recordings]
    if not names or len(set(names)) < len(names):
        remedy = "Samples are told apart by the names of their sessions: rename folders."
        fail("preprocess", "sessions", "at least one, of different names", ", ".join(names) or "none", remedy)


def _camera_names(plans: Sequence[SessionPlan], spec: PreprocessSpec) -> tuple[str, ...]:
    """The canonical order: all names of views, sorted."""
    names = tuple(sorted({name for plan in plans for name in plan.view_names}))
    if len(names) > spec.max_views:
        remedy = f"Leave some out with --leave_out, or give --max_views {len(names)}."
        rule = f"at least the {len(names)} cameras {', '.join(names)}"
        fail("preprocess", "max_views", rule, spec.max_views, remedy)
    return names


def _require_samples(plans: Sequence[SessionPlan], spec: PreprocessSpec) -> None:
    if not any(plan.counts["samples"] for plan in plans):
        told = "; ".join(
            f"{plan.name}: "
            + ", ".join(f"{count} {reason}" for reason, count in plan.counts.items() if count)
            for plan in plans
        )
        rule = f"with a frame that {spec.min_views} views with a video see"
        remedy = "Lower --min_views, or look at `refkp multiview inspect`."
        fail("preprocess", "sessions", rule, told, remedy)


def _attributes(
    plans: Sequence[SessionPlan],
    names: Sequence[str],
    joints: Sequence[str],
    spec: PreprocessSpec,
) -> dict[str, Any]:
    """The metadata of spec multiview b.3."""
    with_cameras = [plan for plan in plans if plan.rig is not None and plan.counts["samples"]]
    has_distortion = any(bool(plan.rig.distortion.any()) for plan in with_cameras if plan.rig is not None)
    histogram = _histogram(plans)
    return {
        "num_samples": sum(histogram.values()),
        "max_views": len(names),
        "canonical_camera_order": json.dumps(list(names)),
        "n_joints": len(joints),
        "joint_names": json.dumps(list(joints)),
        "keypoints_3d_joint_order": "joint_names",
        "n_pose": len(joints) - 1,
        "n_betas": 0,
        "target_resolution": spec.size,
        "pixel_convention": "edge",
        "crop_mode": spec.crop,
        "crop_margin": spec.margin,
        "jpeg_quality": spec.jpeg_quality,
        "undistort_images": spec.undistort and bool(with_cameras),
        "has_distortion": has_distortion and not spec.undistort,  # of the lens, in the stored pictures
        "has_camera_parameters": bool(with_cameras),
        "has_3d_keypoints": any(bool(np.isfinite(plan.instants.points).any()) for plan in plans),
        "load_3d_data": not spec.no_3d_data,
        "soft_visibility": spec.soft_visibility,
        "world_unit": spec.world_unit,
        "world_scale": metres(spec.world_unit),
        "min_views_per_sample": spec.min_views,
        "frame_skip": spec.frame_skip,
        "used_reprojections": False,
        "backbone_name": "",
        "model_sha256": "",
        "views_per_sample": json.dumps(histogram),
        **_totals(plans),
    }


def _tables(plans: Sequence[SessionPlan], files: dict[str, str]) -> dict[str, list[str]]:
    """What may be longer than an attribute: the files, and what became of each session."""
    return {
        "source_files": list(files),
        "source_sha256": list(files.values()),
        "sessions": [plan.name for plan in plans],
        "session_counts": [json.dumps(plan.counts) for plan in plans],
    }


def _totals(plans: Sequence[SessionPlan]) -> dict[str, int]:
    """The counts of all sessions together, as attributes."""
    totals: Counter[str] = Counter()
    for plan in plans:
        totals.update(plan.counts)
    return {f"count_{reason.replace(' ', '_')}": count for reason, count in totals.items()}


def _histogram(plans: Sequence[SessionPlan]) -> dict[int, int]:
    """How many samples have so many views."""
    views = np.concatenate([plan.instants.used.sum(1) for plan in plans])
    numbers, counts = np.unique(views, return_counts=True)
    return dict(zip(numbers.tolist(), counts.tolist(), strict=True))
