"""What each stage trains, and that nothing else moves."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

pytest.importorskip("transformers", reason="needs the extra `panorama`")
pytest.importorskip("peft", reason="needs the extra `panorama`")

from refkp.systems.panorama.model.resampler import ResamplerSpec
from refkp.systems.panorama.model.trainable import parameter_groups, select_stage
from refkp.systems.panorama.model.vlm import PanoramaVLM
from refkp.systems.panorama.stages import Stage
from tests.systems.panorama.tiny_vlm import SPEC, build, training_batch

STAGES: dict[Stage, set[str]] = {
    "vision": {"encoder", "resampler", "head"},
    "resampler": {"resampler", "projector"},
    "finetune": {"projector", "language"},
}


def step(model: PanoramaVLM, stage: Stage) -> None:
    """A step of AdamW on the stage's loss; that of the overlaps stands here for any on the head."""
    groups = parameter_groups(model, stage)
    optimizer = torch.optim.AdamW(
        [{"params": group.parameters, "lr": 1e-2 * group.lr_scale} for group in groups]
    )
    batch = training_batch()
    out = model(replace(batch, text=None) if stage == "vision" else batch)
    loss = torch.zeros(()) if out.loss is None else out.loss
    if stage != "finetune":
        loss = loss + out.features.projected.square().mean()
    loss.backward()
    optimizer.step()


@pytest.mark.parametrize("stage", STAGES)
def test_gradients_and_changes_exactly_where_the_stage_trains(stage: Stage) -> None:
    model = build()
    select_stage(model, stage)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    for _ in range(2):  # the first factor of an adapter has no gradient while the second is zero
        model.zero_grad()
        step(model, stage)
    with_gradient = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert with_gradient == trained
    assert changed == trained
    parts = {name.removeprefix("vision.").split(".")[0] for name in trained}
    assert parts == STAGES[stage]


def test_finetune_trains_adapters_and_leaves_the_language_model() -> None:
    model = build()
    select_stage(model, "finetune")
    names = {name for name, p in model.language.named_parameters() if p.requires_grad}
    assert names
    assert all("lora_" in name for name in names)
    assert len(names) == len(list(model.language.adapter_parameters()))


def test_finetune_without_lora_trains_the_whole_language_model() -> None:
    model = build(replace(SPEC, language=replace(SPEC.language, lora=None)))
    select_stage(model, "finetune")
    assert all(parameter.requires_grad for parameter in model.language.parameters())
    assert not any(parameter.requires_grad for parameter in model.vision.parameters())


@pytest.mark.parametrize("stage", ["resampler", "finetune"])
def test_gradient_checkpointing_reaches_what_the_stage_trains(stage: Stage) -> None:
    def gradients(checkpointing: bool) -> dict[str, torch.Tensor]:
        language = replace(SPEC.language, gradient_checkpointing=checkpointing)
        model = build(replace(SPEC, language=language))
        select_stage(model, stage)
        model(training_batch()).loss.backward()
        return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}

    saving, plain = gradients(True), gradients(False)
    assert saving.keys() == plain.keys()
    torch.testing.assert_close(saving, plain)


def test_a_stage_can_be_selected_after_any_other() -> None:
    def trained(model: PanoramaVLM) -> set[str]:
        return {name for name, parameter in model.named_parameters() if parameter.requires_grad}

    model, fresh = build(), build()
    for stage in ("finetune", "vision", "resampler", "finetune", "vision"):
        select_stage(model, stage)  # type: ignore[arg-type]
    select_stage(fresh, "vision")
    assert trained(model) == trained(fresh)


@pytest.mark.parametrize("stage", STAGES)
def test_groups_hold_every_trained_parameter_once(stage: Stage) -> None:
    model = build(
        replace(SPEC, vision=replace(SPEC.vision, encoder=replace(SPEC.vision.encoder, lr_scale=0.2)))
    )
    select_stage(model, stage)
    groups = {group.name: group for group in parameter_groups(model, stage)}
    listed = [id(parameter) for group in groups.values() for parameter in group.parameters]
    assert sorted(listed) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    assert set(groups) == STAGES[stage]
    scales = {"vision": {"encoder": 0.2}, "resampler": {"resampler": 0.1}, "finetune": {}}[stage]
    assert {name: group.lr_scale for name, group in groups.items() if group.lr_scale != 1.0} == scales


def test_a_resampler_without_parameters_has_no_group() -> None:
    model = build(replace(SPEC, vision=replace(SPEC.vision, resampler=ResamplerSpec("identity"))))
    select_stage(model, "resampler")
    assert [group.name for group in parameter_groups(model, "resampler")] == ["projector"]


def test_the_state_goes_from_stage_to_stage() -> None:
    """The vision stage fills exactly the vision part of the next; a whole state fills everything."""
    vision, model = build(seed=1, with_language=False), build(seed=2)
    missing, unexpected = model.load_state_dict(vision.state_dict(), strict=False)
    assert unexpected == []
    assert {name.split(".")[0] for name in missing} == {"projector", "language"}
    batch = replace(training_batch(), text=None)
    torch.testing.assert_close(model(batch).features.projected, vision(batch).features.projected)
    select_stage(model, "finetune")
    step(model, "finetune")
    other = build(seed=3)
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other(training_batch()).loss, model(training_batch()).loss)


def test_errors() -> None:
    with pytest.raises(ValueError, match="built with language for stage 'resampler'; got one without"):
        select_stage(build(with_language=False), "resampler")
    merged = build()
    merged.language.merge_lora()
    with pytest.raises(ValueError, match="adapters that can be trained; got no adapter parameter"):
        select_stage(merged, "finetune")
    with pytest.raises(ValueError, match="`stage` must be one of"):
        select_stage(merged, "pretrain")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Call `select_stage` first"):
        parameter_groups(merged.requires_grad_(False), "vision")
