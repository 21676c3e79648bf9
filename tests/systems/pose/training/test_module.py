"""The training step: terms by name, gradient to every part from every loss, what a checkpoint keeps."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal

import pytest
import torch

pytest.importorskip("lightning", reason="needs the extra `train`")
pytest.importorskip("jsonargparse", reason="needs the extra `train`")

from refkp.systems.pose.inference.bank import build_bank
from refkp.systems.pose.inference.matches import classify_patches
from refkp.systems.pose.inference.predictor import ModelPredictor
from refkp.systems.pose.losses.flow import robust_flow_loss
from refkp.systems.pose.losses.objective import LossSpec
from refkp.systems.pose.losses.pose import PoseLossSpec
from refkp.systems.pose.model.spec import AttentionSpec, ClassifierSpec, EncoderSpec, FlowSpec, VpogSpec
from refkp.systems.pose.training.module import PoseModule
from tests.systems.pose.scenes import sphere_batch

MODEL = VpogSpec(
    EncoderSpec(dim=32, depth=1, heads=2, patch_size=8, image_size=32),
    AttentionSpec(depth=1, window=2, drop_path=0.0),
    ClassifierSpec(hidden_dim=16, out_dim=16),
    FlowSpec(hidden=(32,)),
)
NO_POSE = PoseLossSpec(weight=0.0)


def alone(name: str) -> LossSpec:
    """One loss without the others."""
    none = LossSpec(classification=0.0, flow=0.0, pose=NO_POSE)
    return {
        "cls": replace(none, classification=1.0),
        "flow": replace(none, flow=1.0),
        "pose": replace(none, pose=PoseLossSpec(weight=1.0)),
    }[name]


def test_forward_is_the_whole_step() -> None:
    torch.manual_seed(0)
    module = PoseModule(MODEL)
    step = module(sphere_batch())
    objective = step.objective
    weights = {"classification": 1.0, "flow": 1.0, "invisible": 1.0, "pose_monte_carlo": 0.02}
    weights |= {"pose_translation": 0.1, "pose_rotation": 0.1}
    assert objective.weights == pytest.approx(weights)
    watched = {"acc_overall", "acc_seen", "acc_unseen", "flow_mae", "flow_rmse", "flow_valid_ratio", "pairs"}
    assert objective.values.keys() - weights.keys() == {*watched, "pose_skipped", "pose_failed"}
    assert int(objective.means["pairs"].sum) == len(step.pairs.b) > 0
    total = sum(weights[name] * objective.values[name] for name in weights)
    torch.testing.assert_close(objective.total, total)
    objective.total.backward()
    missing = [name for name, parameter in module.named_parameters() if parameter.grad is None]
    assert not missing  # DDP waits for the gradient of every parameter


def test_a_step_with_learned_tokens_trains_every_parameter() -> None:
    torch.manual_seed(0)
    attention = replace(MODEL.attention, query_registers=1, template_registers=2, object_tokens=1)
    module = PoseModule(replace(MODEL, attention=attention), LossSpec(pose=NO_POSE))
    module(sphere_batch()).total.backward()
    assert not [name for name, p in module.named_parameters() if p.grad is None]
    assert all(bool(p.grad.any()) for p in module.model.attention.added.parameters() if p.grad is not None)


@pytest.mark.parametrize("temperature", [0.3, 4.0])
def test_inference_has_the_probabilities_of_training(temperature: float) -> None:
    """The loss is the cross entropy of what inference calls the probability of a partner, at any temperature."""
    torch.manual_seed(0)
    model = replace(MODEL, classifier=replace(MODEL.classifier, temperature=temperature))
    module = PoseModule(model, alone("cls")).eval()
    batch = sphere_batch()
    step = module(batch)
    views = batch.templates.select(0)
    bank = build_bank(module.model, views, dtype=torch.float32)
    predictor = ModelPredictor(module.model, bank, batch.query.select(0))
    said = classify_patches(predictor.together(torch.arange(len(views.masks))).logits)
    right = (said.partner == step.targets.labels[0]) & (said.score > 0)
    assert bool(right.any())
    losses = torch.nn.functional.cross_entropy(
        step.output.logits[0].movedim(-1, 1), step.targets.labels[0].clamp(min=0), reduction="none"
    )
    torch.testing.assert_close(-said.score[right].log(), losses[right].detach(), atol=1e-4, rtol=1e-4)
    counted = step.targets.labels >= 0
    all_losses = torch.nn.functional.cross_entropy(
        step.output.logits.movedim(-1, 1), step.targets.labels.clamp(min=0), reduction="none"
    )
    torch.testing.assert_close(step.terms["classification"], all_losses[counted].mean())


#: Loss -> the parts that it must reach, and those that it cannot.
REACHES = {
    "cls": (("encoder", "attention", "unseen", "classifier"), ("flow_head",)),
    "flow": (("encoder", "attention", "flow_head"), ("classifier",)),
    "pose": (("encoder", "attention", "classifier", "flow_head"), ()),
}


@pytest.mark.parametrize("name", REACHES)
def test_each_loss_reaches_encoder_attention_and_its_heads(name: str) -> None:
    torch.manual_seed(0)
    module = PoseModule(MODEL, alone(name))
    module(sphere_batch()).objective.total.backward()
    reached, not_reached = REACHES[name]
    for part in reached:
        gradients = [p.grad for n, p in module.model.named_parameters() if n.startswith(part)]
        assert all(torch.isfinite(grad).all() for grad in gradients if grad is not None)
        share = sum(grad is not None and bool(grad.any()) for grad in gradients) / len(gradients)
        assert share > 0.8, part  # a bias before a softmax gets none
    for part in not_reached:
        gradients = [p.grad for n, p in module.model.named_parameters() if n.startswith(part)]
        assert not any(grad is not None and bool(grad.any()) for grad in gradients), part


@pytest.mark.parametrize("kind", ["l1", "huber"])
def test_a_robust_flow_loss_leaves_the_scale_to_its_likelihood(kind: Literal["l1", "huber"]) -> None:
    torch.manual_seed(0)
    loss = LossSpec(flow=2.0, flow_kind=kind, huber_delta=0.3, pose=NO_POSE)
    module = PoseModule(MODEL, loss)
    step = module(sphere_batch())
    assert module.objective.weights == {"classification": 1.0, "flow": 2.0, "invisible": 2.0, "scale": 2.0}
    at = (step.pairs.b, step.pairs.s, step.pairs.query)
    target, visible = step.targets.flow[at], step.targets.visible[at]
    want = robust_flow_loss(step.prediction.flow, target, visible, kind=kind, delta=0.3)
    torch.testing.assert_close(step.terms["flow"], want.value)
    heads = module.model.flow_head
    inputs = (heads.flow_head.weight, heads.b_head.weight)
    to_flow, to_scale = torch.autograd.grad(step.terms["scale"], inputs, retain_graph=True, allow_unused=True)
    assert to_flow is None
    assert bool(to_scale.any())
    step.total.backward()
    assert not [name for name, p in module.named_parameters() if p.grad is None]  # as DDP needs


def test_the_weight_penalty_is_the_sum_of_squares_of_the_matrices() -> None:
    torch.manual_seed(0)
    module = PoseModule(MODEL, LossSpec(weight_penalty=0.01, pose=NO_POSE))
    step, plain = module(sphere_batch()), PoseModule(MODEL, LossSpec(pose=NO_POSE))
    plain.load_state_dict(module.state_dict())
    squares = sum(float(p.detach().square().sum()) for p in module.parameters() if p.dim() > 1)
    assert step.terms["weight_penalty"].item() == pytest.approx(1e-4 * squares, rel=1e-5)
    difference = (step.total - plain(sphere_batch()).total).item()
    assert difference == pytest.approx(0.01 * 1e-4 * squares, rel=1e-2)


@pytest.mark.parametrize("wrong", [{"flow_kind": "l2"}, {"huber_delta": 0.0}, {"weight_penalty": -1.0}])
def test_losses_that_are_none(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        LossSpec(**wrong)


def test_losses_and_geometry_stay_float32_under_autocast() -> None:
    torch.manual_seed(0)
    module, batch = PoseModule(MODEL).eval(), sphere_batch()
    with torch.no_grad(), torch.random.fork_rng():
        plain = module(batch).objective
    with torch.autocast("cpu", dtype=torch.bfloat16):
        step = module(batch)
    assert step.objective.total.dtype == torch.float32
    assert step.targets.flow.dtype == torch.float32
    assert all(term.dtype == torch.float32 for term in step.objective.terms.values())
    assert float(step.objective.terms["classification"].detach()) == pytest.approx(
        float(plain.terms["classification"]), rel=0.05
    )
    step.objective.total.backward()
    assert all(torch.isfinite(p.grad).all() for p in module.parameters() if p.grad is not None)


def test_a_batch_without_object_trains_nothing_and_breaks_nothing() -> None:
    batch = sphere_batch()
    batch.query.masks[:] = False
    module = PoseModule(MODEL)
    step = module(batch)
    assert int(step.objective.means["pose_skipped"].sum) == 2
    assert float(step.objective.total.detach()) == 0.0
    step.objective.total.backward()
    assert all(p.grad is not None and not p.grad.any() for p in module.parameters())


def test_a_loss_that_is_not_finite_is_reported() -> None:
    module = PoseModule(MODEL, LossSpec(pose=NO_POSE))
    with torch.no_grad():
        module.model.flow_head.flow_head.bias.fill_(torch.nan)
    with pytest.raises(
        ValueError, match=r"`loss` must be finite; got total nan, classification .*, flow nan, .* at step 0"
    ):
        module.require_finite(module(sphere_batch()))


def test_groups() -> None:
    module = PoseModule(MODEL)
    encoder, rest = module.groups()
    assert (encoder.lr_scale, rest.lr_scale) == (1.0, 1.0)
    ids = [id(parameter) for group in (encoder, rest) for parameter in group.parameters]
    assert sorted(ids) == sorted(id(parameter) for parameter in module.parameters())
    module.model_spec = replace(MODEL, encoder=replace(MODEL.encoder, checkpoint="croco.pth"))
    assert module.groups()[0].lr_scale == 0.1


@pytest.mark.slow
def test_one_batch_is_learnt() -> None:
    """Labels and flow of one batch by heart."""
    torch.manual_seed(0)
    module, batch = PoseModule(MODEL, LossSpec(pose=PoseLossSpec(weight=0.02))), sphere_batch(2, 2)
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3)
    for _ in range(150):
        step = module(batch)
        optimizer.zero_grad()
        step.objective.total.backward()
        optimizer.step()
    assert float(step.objective.values["acc_overall"]) > 0.95
    assert float(step.objective.values["flow_mae"]) < 0.12
    assert math.isfinite(float(step.objective.total.detach()))
