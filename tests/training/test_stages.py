"""The stages of a run on disk: plans, what binds, and what is put aside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from refkp.training.stages import RunFolder, run_checkpoint

STAGES = ("vision", "resampler", "finetune")
CONFIG = {"seed": 0, "layout": {"hfov_deg": 90.0}, "model": {"sizes": (1, 2)}}
SHARED = ("layout", "model")


def folder(path: Path) -> RunFolder:
    return RunFolder(path, "panorama")


def begin(
    run: Path, stage: str, config: dict[str, object] = CONFIG, stages: tuple[str, ...] = STAGES
) -> Path:
    """What an interrupted stage leaves."""
    folder(run).begin(stage, stages, config, {})
    last = folder(run).last(stage)
    last.parent.mkdir(parents=True)
    last.touch()
    return last


def finish(run: Path, stage: str) -> Path:
    """What a finished stage leaves."""
    last = begin(run, stage)
    folder(run).complete(stage, last)
    return last


def plan(run: Path, stage: str, config: dict[str, object] = CONFIG, **options: bool) -> tuple[object, ...]:
    return tuple(folder(run).plan(stage, STAGES, config, shared=SHARED, **options))


def test_stages_follow_each_other(tmp_path: Path) -> None:
    assert plan(tmp_path, "vision") == ("train", None, None)
    first = finish(tmp_path, "vision")
    assert plan(tmp_path, "vision") == ("report", None, None)
    assert plan(tmp_path, "resampler") == ("train", first, None)
    with pytest.raises(ValueError, match="one after a complete stage 'resampler'"):
        plan(tmp_path, "finetune")


def test_a_run_may_begin_after_its_first_stage(tmp_path: Path) -> None:
    assert folder(tmp_path).plan("resampler", STAGES[1:], CONFIG) == ("train", None, None)


def test_an_interrupted_stage_is_resumed_unless_fresh(tmp_path: Path) -> None:
    first, last = finish(tmp_path, "vision"), begin(tmp_path, "resampler")
    assert plan(tmp_path, "resampler") == ("resume", first, last)
    assert plan(tmp_path, "resampler", fresh=True) == ("train", first, None)


def test_a_stage_goes_on_with_its_own_options_alone(tmp_path: Path) -> None:
    begin(tmp_path, "vision")
    with pytest.raises(ValueError, match=r"got seed 0 there and 1 here\. Repeat its options, put it aside"):
        plan(tmp_path, "vision", {**CONFIG, "seed": 1})
    assert plan(tmp_path, "vision", {**CONFIG, "seed": 1}, fresh=True)[0] == "train"
    finish(tmp_path, "vision")
    with pytest.raises(ValueError, match="seed 0 there and 1 here"):
        plan(tmp_path, "vision", {**CONFIG, "seed": 1})


def test_other_stages_bind_by_what_is_shared(tmp_path: Path) -> None:
    finish(tmp_path, "vision")
    assert plan(tmp_path, "resampler", {**CONFIG, "seed": 1})[0] == "train"
    other = {**CONFIG, "layout": {"hfov_deg": 60.0}}
    for fresh in (False, True):
        with pytest.raises(ValueError, match=r"got layout\.hfov_deg 90\.0 there and 60\.0 here\."):
            plan(tmp_path, "resampler", other, fresh=fresh)
    assert plan(tmp_path, "vision", other, fresh=True)[0] == "train"


def test_a_try_that_left_no_weights_binds_nobody(tmp_path: Path) -> None:
    folder(tmp_path).begin("vision", STAGES, {"source": "typo"}, {})
    assert plan(tmp_path, "vision", {"source": "right"})[0] == "train"
    folder(tmp_path).begin("vision", STAGES, {"source": "right"}, {})
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_a_stage_that_begins_again_puts_itself_and_later_ones_aside(tmp_path: Path) -> None:
    for stage in STAGES:
        finish(tmp_path, stage)
    for number in (1, 2):
        begin(tmp_path, "resampler")
        assert (tmp_path / f"resampler_{number}").is_dir()
    assert list(folder(tmp_path).state.complete) == ["vision"]
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"run.json", "vision", "resampler", "resampler_1", "resampler_2", "finetune_1"}


def test_a_run_can_be_moved(tmp_path: Path) -> None:
    finish(tmp_path / "run", "vision")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["complete"] == {
        "vision": "vision/checkpoints/last.ckpt"
    }
    moved = (tmp_path / "run").rename(tmp_path / "moved")
    start = plan(moved, "resampler")[1]
    assert isinstance(start, Path)
    assert start.exists()


def test_what_auto_came_to_and_the_values_before_are_kept(tmp_path: Path) -> None:
    begin(tmp_path, "vision")
    run = folder(tmp_path)
    run.note_resolved("vision", {"precision": "32-true"})
    run.note_before("vision", {"val/total": 2.0})
    begun = folder(tmp_path).state.begun["vision"]
    assert (begun.resolved, begun.before) == ({"precision": "32-true"}, {"val/total": 2.0})


def test_a_run_of_another_system_is_refused(tmp_path: Path) -> None:
    finish(tmp_path, "vision")
    with pytest.raises(
        ValueError, match=r"for a run of 'pose'; got .* with one of 'panorama'\. Choose another"
    ):
        RunFolder(tmp_path, "pose")


def test_the_checkpoint_that_a_run_stands_for(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"complete ones: none\. Train it with `refkp train panorama --stage all"
    ):
        run_checkpoint(tmp_path, "panorama", STAGES)
    for stage in STAGES[:2]:
        finish(tmp_path, stage)
    first, last = (tmp_path / stage / "checkpoints" / "last.ckpt" for stage in STAGES[:2])
    assert run_checkpoint(tmp_path, "panorama", STAGES) == last
    assert run_checkpoint(tmp_path, "panorama", STAGES, "vision") == first
    assert run_checkpoint(tmp_path / "vision", "panorama", STAGES) == first
    assert run_checkpoint(first, "panorama", STAGES) == first
    with pytest.raises(ValueError, match=r"Train it with `refkp train pose --out"):
        run_checkpoint(tmp_path / "new", "pose", ("train",))
