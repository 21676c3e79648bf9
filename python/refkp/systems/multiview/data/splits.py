"""What is held out of recordings: neighbouring frames show the same, so they never lie on both sides.

Source: spec multiview c.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch

from refkp._checks import fail, require_choice
from refkp.training.sampling import held_out_groups

SplitRule = Literal["time", "session", "frame"]


class Split(NamedTuple):
    """Numbers of samples."""

    train: list[int]
    held_out: list[int]
    left_out: list[int]  # between the two, in neither


def split_samples(
    sessions: Sequence[str],
    frames: Sequence[int],
    *,
    rule: SplitRule,
    fraction: float,
    gap: int,
    seed: int = 0,
) -> Split:
    """Divide samples into those of training and those held out.

    time: of each session a block of consecutive samples is held out, and what lies within `gap` frames of it is
    left out. session: whole sessions are held out. frame: single samples are, whose neighbours are trained on; their
    numbers say little.

    Args:
        sessions, frames: of each sample.
        rule: as above.
        fraction: that is held out, of each session or of all, at least one; in (0,1).
        gap: frames, at least 1; of "time".
        seed: of the choice.

    Raises:
        ValueError: an argument out of its range, or nothing to train on or to hold out.

    >>> split_samples(["a"] * 9, range(9), rule="time", fraction=0.2, gap=2, seed=1)
    Split(train=[0, 1, 2], held_out=[5, 6], left_out=[3, 4, 7, 8])
    """
    require_choice("split_samples", "split", rule, get_args(SplitRule))
    if rule == "time":
        return _split_in_time(np.asarray(sessions), np.asarray(frames), fraction, gap, seed)
    if rule == "session":
        if len(set(sessions)) < 2:
            remedy = "Split by 'time', or name a file of held-out sessions."
            fail(
                "split_samples", "sessions", "at least two to split by 'session'", len(set(sessions)), remedy
            )
        return Split(*held_out_groups(sessions, fraction, seed), [])
    groups = [f"{session}/{frame}" for session, frame in zip(sessions, frames, strict=True)]
    return Split(*held_out_groups(groups, fraction, seed), [])


def _split_in_time(sessions: np.ndarray, frames: np.ndarray, fraction: float, gap: int, seed: int) -> Split:
    if not 0 < fraction < 1:
        fail("split_samples", "val_fraction", "inside (0,1)", fraction)
    if gap < 1:
        fail(
            "split_samples",
            "gap",
            "at least 1 frame",
            gap,
            "Neighbouring frames are nearly the same picture.",
        )
    sides = [
        _sides(frames, rows, fraction, gap, generator) for rows, generator in _each_session(sessions, seed)
    ]
    train, held_out, left_out = (
        sorted(int(i) for side in part for i in side) for part in zip(*sides, strict=True)
    )
    if not train:
        got = f"none: all {len(frames)} samples are held out or within {gap} frames of one that is"
        remedy = "Make `gap` or `val_fraction` smaller, split by 'session', or add data."
        fail("split_samples", "samples", "some to train on", got, remedy)
    return Split(train, held_out, left_out)


def _each_session(sessions: np.ndarray, seed: int) -> Iterator[tuple[np.ndarray, torch.Generator]]:
    generator = torch.Generator().manual_seed(seed)
    for name in np.unique(sessions):
        yield np.flatnonzero(sessions == name), generator


def _sides(
    frames: np.ndarray, rows: np.ndarray, fraction: float, gap: int, generator: torch.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of one session that are trained on, held out, and left out."""
    rows = rows[np.argsort(frames[rows], kind="stable")]
    count = max(1, round(fraction * len(rows)))
    start = int(torch.randint(len(rows) - count + 1, (), generator=generator))
    block = rows[start : start + count]
    far = (frames[rows] < frames[block[0]] - gap) | (frames[rows] > frames[block[-1]] + gap)
    near = ~far & ~np.isin(rows, block)
    return rows[far], block, rows[near]
