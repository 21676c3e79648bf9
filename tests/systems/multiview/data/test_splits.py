"""What is held out, and that no neighbour of it is trained on."""

from __future__ import annotations

import numpy as np
import pytest

from refkp.systems.multiview.data.splits import Split, SplitRule, split_samples

# Two sessions, out of order, one with every third frame only.
SESSIONS = ["b"] * 40 + ["a"] * 60
FRAMES = np.concatenate(
    (3 * np.random.default_rng(0).permutation(40), np.random.default_rng(1).permutation(60))
).tolist()


def split(rule: SplitRule, *, fraction: float = 0.2, gap: int = 5, seed: int = 0) -> Split:
    return split_samples(SESSIONS, FRAMES, rule=rule, fraction=fraction, gap=gap, seed=seed)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("gap", [1, 5, 12])
def test_a_gap_parts_each_block_from_training(gap: int, seed: int) -> None:
    parts = split("time", gap=gap, seed=seed)
    assert sorted(parts.train + parts.held_out + parts.left_out) == list(range(100))
    for session, step in (("a", 1), ("b", 3)):
        train, held_out, left_out = (
            np.array([FRAMES[i] for i in part if SESSIONS[i] == session]) for part in parts
        )
        assert len(held_out) == round(0.2 * SESSIONS.count(session))
        assert held_out.max() - held_out.min() == step * (len(held_out) - 1)  # one block
        distance = np.abs(train[:, None] - held_out)
        assert distance.min() > gap
        assert np.abs(left_out[:, None] - held_out).min(1).max(initial=0) <= gap  # no more than that is lost


def test_frames_of_one_instant_are_not_parted() -> None:
    sessions, frames = ["a"] * 40, np.repeat(np.arange(20), 2).tolist()  # two animals in each frame
    for seed in range(10):
        parts = split_samples(sessions, frames, rule="time", fraction=0.1, gap=1, seed=seed)
        held_out = {frames[i] for i in parts.held_out}
        assert min(abs(frames[i] - f) for i in parts.train for f in held_out) > 1


def test_seeds_choose_blocks_and_the_same_seed_the_same() -> None:
    chosen = {tuple(split("time", seed=seed).held_out) for seed in range(8)}
    assert len(chosen) > 4
    assert split("time", seed=3) == split("time", seed=3)


def test_sessions_stay_whole() -> None:
    parts = split("session")
    assert {SESSIONS[i] for i in parts.train} & {SESSIONS[i] for i in parts.held_out} == set()
    assert len(parts.train) + len(parts.held_out) == 100


def test_single_frames_are_held_out_when_asked() -> None:
    parts = split("frame")
    assert len(parts.held_out) == 20
    assert sorted(parts.train + parts.held_out) == list(range(100))


@pytest.mark.parametrize(
    ("rule", "options", "word"),
    [
        ("day", {}, "split"),
        ("time", {"fraction": 0.0}, "val_fraction"),
        ("time", {"gap": 0}, "gap"),
        ("time", {"gap": 200}, "`gap` or `val_fraction` smaller"),
        ("time", {"fraction": 0.99}, "some to train on"),
        ("session", {"fraction": 1.0}, "val_fraction"),
    ],
)
def test_a_split_with_nothing_in_it_is_an_error_with_the_remedy(
    rule: SplitRule, options: dict[str, float], word: str
) -> None:
    with pytest.raises(ValueError, match=word):
        split(rule, **options)  # type: ignore[arg-type]


def test_one_session_cannot_be_split_by_session() -> None:
    with pytest.raises(ValueError, match="Split by 'time'"):
        split_samples(["a"] * 9, range(9), rule="session", fraction=0.5, gap=1)
