"""From sessions to one file of samples: in blocks, by processes, going on after an interruption.

Blocks are whole files in a folder beside the result. They are joined at the end, and the folder goes.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from refkp._checks import fail
from refkp._extras import named_extras
from refkp._files import put_aside, write_json
from refkp._progress import progress_bar
from refkp.data.units import MILLIMETRES
from refkp.systems.multiview.preprocessing.blocks import Block, blocks_of, write_blocks
from refkp.systems.multiview.preprocessing.planning import SessionPlan, plan_session
from refkp.systems.multiview.preprocessing.sources import source_digests
from refkp.systems.multiview.preprocessing.spec import PreprocessSpec
from refkp.systems.multiview.session import Recording
from refkp.systems.multiview.store.reading import SampleStore
from refkp.systems.multiview.store.schema import Dimensions
from refkp.systems.multiview.store.writing import StoreWriter

with named_extras():
    import cv2

_VERSION = 1  # of the samples: raise it when the same request gives others
_LOOK_EVERY_S = 0.3
_METRE = 1000.0  # millimetres


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
    _require_samples(plans, spec)
    request = _request(recordings, plans, spec, track)
    folder = out.with_name(f"{out.name}.unfinished")
    if fresh:
        put_aside(out)
        shutil.rmtree(folder, ignore_errors=True)
    was_there = _is_finished(out, request)
    if not was_there:
        _claim(folder, request)
        blocks: list[list[Block]] = []
        for plan in plans:
            blocks.append(blocks_of(plan, names, folder, sum(map(len, blocks))))
        _make(blocks, spec, workers, folder)
        _join(out, folder, blocks, _attributes(plans, names, joints, spec, request), request)
    shutil.rmtree(folder, ignore_errors=True)
    counts = {plan.name: plan.counts for plan in plans}
    histogram = _histogram(plans)
    return Preprocessed(out, sum(histogram.values()), counts, histogram, was_there)


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
        fail(
            "preprocess",
            "max_views",
            f"at least the {len(names)} cameras {', '.join(names)}",
            spec.max_views,
            remedy,
        )
    return names


def _require_samples(plans: Sequence[SessionPlan], spec: PreprocessSpec) -> None:
    if not any(plan.counts["samples"] for plan in plans):
        told = "; ".join(f"{plan.name}: " + ", ".join(f"{value} {key}" for key, value in plan.counts.items() if value)
                         for plan in plans)  # fmt: skip
        remedy = "Lower --min_views, or look at `refkp multiview inspect`."
        fail(
            "preprocess",
            "sessions",
            f"with a frame that {spec.min_views} views with a video see",
            told,
            remedy,
        )


def _request(
    recordings: Sequence[Recording], plans: Sequence[SessionPlan], spec: PreprocessSpec, track: str | None
) -> dict[str, Any]:
    """All that the samples depend on."""
    sources: dict[str, str] = {}
    for recording in recordings:
        sources |= source_digests(recording)
    views = {plan.name: list(plan.view_names) for plan in plans}
    request = {
        "version": _VERSION,
        "options": {**asdict(spec), "track": track},
        "views": views,
        "files": sources,
    }
    return json.loads(json.dumps(request))  # tuples as lists, as they are read


def _digest(request: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


def _is_finished(out: Path, request: dict[str, Any]) -> bool:
    """Whether the samples are there; raises where others are."""
    if not out.exists():
        return False
    with SampleStore(out) as store:
        told = store.info.attributes.get("request_sha256")
    if told != _digest(request):
        remedy = "Choose another name, or give --fresh, which puts that file aside."
        fail(
            "preprocess",
            str(out),
            "a new file, or one of the same options and sessions",
            "one of others",
            remedy,
        )
    return True


def _claim(folder: Path, request: dict[str, Any]) -> None:
    """Write what is asked for, or find it there."""
    path = folder / "request.json"
    if path.is_file():
        there = json.loads(path.read_text(encoding="utf-8"))
        if there != request:
            differ = ", ".join(_differences(there, request))
            remedy = "Give the former options, another name, or --fresh, which begins again."
            rule = "unfinished work on the same options and sessions"
            fail("preprocess", str(folder), rule, f"other {differ}", remedy)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, request)


def _differences(there: dict[str, Any], request: dict[str, Any]) -> Iterator[str]:
    """The names of what is not the same."""
    for part, values in request.items():
        before = there.get(part)
        if isinstance(values, dict) and isinstance(before, dict):
            yield from sorted(
                key
                for key in {*values, *before}
                if values.get(key) != before.get(key) or (key in values) != (key in before)
            )
        elif values != before:
            yield part


def _make(blocks: Sequence[Sequence[Block]], spec: PreprocessSpec, workers: int, folder: Path) -> None:
    """Write the blocks that are not there yet."""
    missing = [[block for block in session if not block.path.is_file()] for session in blocks]
    pieces = [piece for session in missing for piece in _pieces(session, workers)]
    if not pieces:
        return
    total = sum(map(len, pieces))
    try:
        written = _written_here(pieces, spec) if workers == 1 else _written(pieces, spec, workers)
        for _ in progress_bar(written, "preprocessing", total):
            pass
    except ValueError as error:
        raise ValueError(f"{error} What is finished stays in {folder}; the same command goes on.") from error


def _pieces(blocks: Sequence[Block], workers: int) -> Iterator[Sequence[Block]]:
    """Blocks of a session in runs, one for each worker, so that each reads on in the videos."""
    for part in np.array_split(np.arange(len(blocks)), min(workers, len(blocks)) or 1):
        if len(part):
            yield blocks[part[0] : part[-1] + 1]


def _written_here(pieces: Sequence[Sequence[Block]], spec: PreprocessSpec) -> Iterator[Path]:
    for piece in pieces:
        yield from write_blocks(piece, spec)


def _written(pieces: Sequence[Sequence[Block]], spec: PreprocessSpec, workers: int) -> Iterator[Path]:
    """Write by processes, and tell each block whose file appears."""
    context = multiprocessing.get_context("spawn")  # threads of torch and OpenCV do not survive a fork
    with ProcessPoolExecutor(
        min(workers, len(pieces)), mp_context=context, initializer=_begin_worker
    ) as pool:
        futures = [pool.submit(_write_piece, piece, spec) for piece in pieces]
        left = [block.path for piece in pieces for block in piece]
        try:
            while left:
                finished = _finished(futures)
                there = [path for path in left if path.is_file()]
                yield from there
                left = [path for path in left if path not in there] if not finished else []
        finally:
            pool.shutdown(cancel_futures=True)


def _finished(futures: Sequence[Future[None]]) -> bool:
    """Wait a moment; whether all is written. Raises what a process raised."""
    done, waiting = wait(futures, timeout=_LOOK_EVERY_S, return_when=FIRST_EXCEPTION)
    for future in done:
        future.result()
    return not waiting


def _write_piece(piece: Sequence[Block], spec: PreprocessSpec) -> None:
    for _ in write_blocks(piece, spec):
        pass


def _begin_worker() -> None:
    """One thread each; and no process stays behind when its parent is killed."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _join(
    out: Path,
    folder: Path,
    blocks: Sequence[Sequence[Block]],
    attributes: dict[str, Any],
    request: dict[str, Any],
) -> None:
    """Put all blocks into one file, which then becomes `out`."""
    together = [block for session in blocks for block in session]
    _, _, joints = together[0].instants.visibility.shape
    count = sum(len(block.instants.frames) for block in together)
    joined = folder / "joined.h5"
    with StoreWriter(joined, Dimensions(len(together[0].names), joints), count) as writer:
        for block in together:
            writer.append_file(block.path)
        files = request["files"]
        writer.describe(attributes, {"source_files": list(files), "source_sha256": list(files.values())})
    joined.replace(out)


def _attributes(
    plans: Sequence[SessionPlan],
    names: Sequence[str],
    joints: Sequence[str],
    spec: PreprocessSpec,
    request: dict[str, Any],
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
        "world_scale": MILLIMETRES[spec.world_unit] / _METRE,
        "min_views_per_sample": spec.min_views,
        "frame_skip": spec.frame_skip,
        "used_reprojections": False,
        "backbone_name": "",
        "model_sha256": "",
        "counts": json.dumps(_totals(plans)),
        "views_per_sample": json.dumps(histogram),
        "request_sha256": _digest(request),
    }


def _totals(plans: Sequence[SessionPlan]) -> dict[str, int]:
    totals: Counter[str] = Counter()
    for plan in plans:
        totals.update(plan.counts)
    return dict(totals)


def _histogram(plans: Sequence[SessionPlan]) -> dict[int, int]:
    """How many samples have so many views."""
    views = np.concatenate([plan.instants.used.sum(1) for plan in plans])
    numbers, counts = np.unique(views, return_counts=True)
    return dict(zip(numbers.tolist(), counts.tolist(), strict=True))
