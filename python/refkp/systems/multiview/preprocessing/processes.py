"""Blocks written by processes, or in this one."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import torch

from refkp._checks import fail
from refkp._extras import named_extras
from refkp._progress import progress_bar
from refkp.systems.multiview.preprocessing.blocks import Block, write_blocks
from refkp.systems.multiview.preprocessing.spec import PreprocessSpec

with named_extras():
    import cv2

_LOOK_EVERY_S = 0.3


def write_missing(
    blocks: Sequence[Sequence[Block]], spec: PreprocessSpec, workers: int, folder: Path
) -> None:
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
    except BrokenProcessPool:
        remedy = f"One was ended from outside. What is finished stays in {folder}; the same command goes on."
        fail("preprocess", "workers", "few enough for the memory of the machine", workers, remedy)
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
    with ProcessPoolExecutor(min(workers, len(pieces)), mp_context=context, initializer=begin_worker) as pool:
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


def begin_worker() -> None:
    """One thread each; and no process stays behind when its parent is killed."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
