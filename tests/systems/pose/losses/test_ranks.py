"""Two ranks with uneven counts are as one process with the whole batch: loss, values, gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from refkp.systems.pose.losses.objective import LossSpec, Objective, ObjectiveTerms
from refkp.systems.pose.model.flow import PairPrediction
from refkp.systems.pose.model.pairs import pairs_from_labels
from refkp.systems.pose.targets import pose_targets
from refkp.systems.pose.views import PoseBatch
from refkp.verify.ranks import run_ranks
from tests.systems.pose.losses.test_correspondences import P
from tests.systems.pose.scenes import select, sphere_batch

OBJECTS = 4
#: The rotation term, 2 (1 - (q . q_true)^2) in float32, comes in steps of 6e-8.
ATOL = 3e-7


def objective_terms(
    batch: PoseBatch, logits: Tensor, shift: Tensor, training: bool = True
) -> tuple[Objective, ObjectiveTerms]:
    """All losses of predictions that shared parameters change: logits [B,S,N,N+1], one shift of all flows [2]."""
    objective = Objective(LossSpec(unseen_weight=0.5, weight_penalty=0.01)).train(training)
    targets = pose_targets(batch.query, batch.templates, P)
    pairs = pairs_from_labels(targets.labels, targets.labels.shape[-1])
    flow = targets.flow[pairs.b, pairs.s, pairs.query] + shift
    prediction = PairPrediction(flow, 0.1 + 0.05 * flow.detach().abs().sum(-1))
    matrix = nn.Linear(2, 3, bias=False)
    nn.init.constant_(matrix.weight, 4.0)
    return objective, objective(logits, prediction, pairs, targets, batch, matrix)


def scene(empty: list[int]) -> tuple[PoseBatch, Tensor, Tensor]:
    """A batch in which some objects have no label, with logits and a shift."""
    batch = sphere_batch(OBJECTS)
    batch.query.masks[empty] = False
    batch.query.masks[1, :20] = False  # fewer labels than the others
    generator = torch.Generator().manual_seed(0)
    return batch, torch.randn(OBJECTS, 3, 16, 17, generator=generator), torch.tensor([0.1, -0.05])


def _step(batch: PoseBatch, logits: Tensor, shift: Tensor) -> dict[str, Tensor]:
    """Gradients and values on one rank, and those that it would give alone."""
    logits, shift = (tensor.clone().requires_grad_() for tensor in (logits, shift))
    objective, terms = objective_terms(batch, logits, shift)
    assert objective.pose is not None
    inputs = (logits, shift, objective.pose.log_scale)
    grads = dict(zip(("logits", "shift", "log_scale"), torch.autograd.grad(terms.total, inputs), strict=True))
    values = {name: value.detach() for name, value in terms.values.items()}
    alone = objective_terms(batch, logits, shift, training=False)[1].total.detach()
    return {"total": terms.total.detach(), "alone": alone, **values, **grads}


SHARES = ([0, 2], [1, 3])
#: What is special -> the objects without labels.
EMPTY = {"uneven labels": [], "a rank without any label": [0, 2]}


def _every_step(share: list[int]) -> dict[str, dict[str, Tensor]]:
    """`_step` of a rank with its share of every scene."""
    scenes = {name: scene(empty) for name, empty in EMPTY.items()}
    return {
        name: _step(select(batch, share), logits[share], shift)
        for name, (batch, logits, shift) in scenes.items()
    }


@pytest.fixture(scope="module")
def of_ranks() -> list[dict[str, dict[str, Tensor]]]:
    """Of all scenes at once: to start processes takes longest."""
    return run_ranks(_every_step, [(share,) for share in SHARES])


@pytest.mark.parametrize("case", EMPTY)
def test_two_ranks_are_as_one_process(case: str, of_ranks: list[dict[str, dict[str, Tensor]]]) -> None:
    batch, logits, shift = scene(EMPTY[case])
    ranks = [steps[case] for steps in of_ranks]
    whole = _step(batch, logits, shift)
    names = whole.keys() - {"alone", "logits", "shift", "log_scale"}
    for rank in ranks:
        assert {name: rank[name].item() for name in names} == pytest.approx(
            {name: whole[name].item() for name in names}, rel=1e-6, abs=ATOL
        )
    # What DDP makes of the gradients of shared parameters is their average.
    for name in ("shift", "log_scale"):
        average = (ranks[0][name] + ranks[1][name]) / 2
        torch.testing.assert_close(average, whole[name], rtol=1e-5, atol=1e-7)
    for rank, share in zip(ranks, SHARES, strict=True):
        torch.testing.assert_close(rank["logits"] / 2, whole["logits"][share], rtol=1e-5, atol=1e-8)
    # What this guards from: each rank by itself has another loss.
    assert abs(float(ranks[0]["alone"]) - float(whole["total"])) > 1e-3


def test_means_of_batches_add_to_the_mean_of_all() -> None:
    """As held-out values are made, whatever the batches are and on whichever rank."""
    batch, logits, shift = scene([])
    whole = objective_terms(batch, logits, shift, training=False)[1].values
    parts = [
        objective_terms(select(batch, share), logits[share], shift, training=False)[1].means
        for share in ([0], [1, 2], [3])
    ]
    for name, value in whole.items():
        added = parts[0][name] + parts[1][name] + parts[2][name]
        # The Monte-Carlo loss is a difference of large sums, in float32; the measured worst is 6.4e-6.
        rtol = 2e-5 if name == "pose_monte_carlo" else 1e-6
        torch.testing.assert_close(added.value, value, rtol=rtol, atol=ATOL)
