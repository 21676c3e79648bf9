"""The state of a run on disk: plans, weights, and files that are never half written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

pytest.importorskip("jsonargparse", reason="needs the extra `train`")
pytest.importorskip("transformers", reason="needs the extra `panorama`")

from refkp.systems.panorama.model.encoders import EncoderSpec
from refkp.systems.panorama.model.language import LanguageSpec
from refkp.systems.panorama.model.vision import VisionStageSpec
from refkp.systems.panorama.model.vlm import PanoramaVLM, PanoramaVLMSpec
from refkp.systems.panorama.training.runs import (
    StageState,
    begin_stage,
    complete_stage,
    load_weights,
    plan_stage,
)

CONFIG = {"layout": {"hfov_deg": 90.0}, "model": {"sizes": (1, 2)}}
SPEC = PanoramaVLMSpec(VisionStageSpec(EncoderSpec("tiny", 32)), language=LanguageSpec("tiny"))


def finish(run: Path, stage: str) -> Path:
    """What a finished stage leaves."""
    begin_stage(run, stage, CONFIG)  # type: ignore[arg-type]
    last = run / stage / "checkpoints" / "last.ckpt"
    last.parent.mkdir(parents=True)
    last.touch()
    complete_stage(run, stage, last)  # type: ignore[arg-type]
    return last


def test_stages_follow_each_other(tmp_path: Path) -> None:
    assert plan_stage(tmp_path, "vision", CONFIG) == ("train", None, None)
    first = finish(tmp_path, "vision")
    assert plan_stage(tmp_path, "vision", CONFIG).action == "done"
    assert plan_stage(tmp_path, "resampler", CONFIG) == ("train", first, None)
    with pytest.raises(ValueError, match="one after a complete stage 'resampler'"):
        plan_stage(tmp_path, "finetune", CONFIG)


def test_an_interrupted_stage_is_resumed_unless_fresh(tmp_path: Path) -> None:
    first = finish(tmp_path, "vision")
    last = tmp_path / "resampler" / "checkpoints" / "last.ckpt"
    last.parent.mkdir(parents=True)
    last.touch()
    assert plan_stage(tmp_path, "resampler", CONFIG) == ("resume", first, last)
    assert plan_stage(tmp_path, "resampler", CONFIG, fresh=True) == ("train", first, None)


def test_a_stage_goes_on_with_its_own_options_alone(tmp_path: Path) -> None:
    begin_stage(tmp_path, "vision", CONFIG, {"seed": 0})
    assert plan_stage(tmp_path, "vision", CONFIG, {"seed": 0}).action == "train"
    with pytest.raises(ValueError, match=r"seed 0 there and 1 here\. Repeat its options, train it again"):
        plan_stage(tmp_path, "vision", CONFIG, {"seed": 1})
    assert plan_stage(tmp_path, "vision", CONFIG, {"seed": 1}, fresh=True).action == "train"


def test_the_state_can_be_moved_and_compares_plain_values(tmp_path: Path) -> None:
    finish(tmp_path / "run", "vision")
    state = json.loads((tmp_path / "run" / "stage_state.json").read_text())
    assert state["checkpoints"] == {"vision": "vision/checkpoints/last.ckpt"}
    moved = (tmp_path / "run").rename(tmp_path / "moved")
    start = plan_stage(moved, "resampler", CONFIG).start_from
    assert start is not None
    assert start.exists()


def test_another_configuration_needs_a_fresh_first_stage(tmp_path: Path) -> None:
    finish(tmp_path, "vision")
    other = {"layout": {"hfov_deg": 60.0}, "model": {"sizes": (1, 2)}}
    with pytest.raises(ValueError, match=r"got layout\.hfov_deg 90\.0 there and 60\.0 here\."):
        plan_stage(tmp_path, "vision", other)
    with pytest.raises(ValueError, match=r"layout\.hfov_deg"):
        plan_stage(tmp_path, "resampler", other, fresh=True)
    assert plan_stage(tmp_path, "vision", other, fresh=True).action == "train"
    begin_stage(tmp_path, "vision", other, fresh=True)
    assert StageState.read(tmp_path) == StageState({**other, "model": {"sizes": [1, 2]}}, {"vision": {}})
    assert (tmp_path / "vision_1").exists()


def save(model: PanoramaVLM, stage: str, path: Path) -> Path:
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    torch.save({"state_dict": state, "panorama": {"stage": stage}}, path)
    return path


def test_weights_go_from_the_vision_stage_to_the_whole_model(tmp_path: Path) -> None:
    vision, whole = PanoramaVLM(SPEC, with_language=False), PanoramaVLM(SPEC)
    load_weights(whole, save(vision, "vision", tmp_path / "vision.ckpt"))
    for name, value in vision.state_dict().items():
        assert torch.equal(whole.state_dict()[name], value)


def test_weights_that_are_missing_are_an_error(tmp_path: Path) -> None:
    vision, whole = PanoramaVLM(SPEC, with_language=False), PanoramaVLM(SPEC)
    with pytest.raises(ValueError, match="other weights in"):
        load_weights(whole, save(vision, "resampler", tmp_path / "resampler.ckpt"))
    with pytest.raises(ValueError, match="other weights in"):
        load_weights(vision, save(whole, "resampler", tmp_path / "whole.ckpt"))
