"""Cluster and global mode: which templates are asked, what is kept, and what the others of a chunk change."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from refkp.geometry.icosphere import cam_from_obj, icosphere_views
from refkp.geometry.rotations import axis_angle_to_matrix
from refkp.systems.pose.inference.bank import TemplateBank, build_bank
from refkp.systems.pose.inference.grid import PatchGrid
from refkp.systems.pose.inference.matches import Prediction
from refkp.systems.pose.inference.modes import Evidence, cluster_evidence, global_evidence
from refkp.systems.pose.inference.predictor import ModelPredictor
from refkp.systems.pose.inference.spec import EstimatorSpec, MatchSpec, ModeSpec
from refkp.systems.pose.inference.task import Task
from refkp.systems.pose.model.vpog import Vpog
from refkp.systems.pose.templates.selection import select_templates
from refkp.systems.pose.views import Views
from tests.systems.pose.inference.small import random_views, small_model

GRID = PatchGrid(2, 2, 4)
POSES = cam_from_obj(400 * icosphere_views(0))


def task(modes: ModeSpec, templates: Tensor | None = None) -> Task:
    """42 templates and a query of 2 x 2 patches, all of them on the object."""
    K = torch.eye(3, dtype=torch.float64)
    query = Views(torch.zeros(3, 8, 8), torch.ones(8, 8, dtype=torch.bool), torch.zeros(8, 8), K, POSES[0])
    bank = TemplateBank(torch.zeros(42, 4, 1), torch.zeros(42, 8, 8), K.expand(42, 3, 3), POSES)
    return Task(query, bank, GRID, EstimatorSpec(modes), templates)


class KnownScores:
    """A predictor that is surer of some templates, and writes down what it was asked."""

    def __init__(self, certainty: Tensor) -> None:
        self.certainty = certainty
        self.asked: list[tuple[str, list[int]]] = []

    def logits(self, templates: Tensor) -> Tensor:
        self.asked.append(("logits", templates.tolist()))
        return self._logits(templates)

    def alone(self, templates: Tensor) -> Prediction:
        self.asked.append(("alone", templates.tolist()))
        return self._prediction(templates)

    def together(self, templates: Tensor) -> Prediction:
        self.asked.append(("together", templates.tolist()))
        return self._prediction(templates)

    def _prediction(self, templates: Tensor) -> Prediction:
        count = len(templates)
        return Prediction(
            self._logits(templates), torch.zeros(count, 4, 4, 4, 2), torch.full((count, 4, 4, 4), 0.5)
        )

    def _logits(self, templates: Tensor) -> Tensor:
        return self.certainty[templates][:, None, None] * torch.eye(4, 5)


@pytest.fixture
def certainty() -> Tensor:
    return 3 + torch.rand(42, generator=torch.Generator().manual_seed(0))


def test_a_cluster_is_the_best_templates_seen_together(certainty: Tensor) -> None:
    predictor = KnownScores(certainty)
    evidence = cluster_evidence(predictor, task(ModeSpec(num_templates=3, chunk=16, cluster="scores")))
    best = certainty.argsort(descending=True)[:3].tolist()
    assert evidence.ranking.templates.tolist() == best
    assert predictor.asked[-1] == ("together", best)
    first_pass = [ask for ask in predictor.asked if ask[0] == "logits"]
    assert [len(ask[1]) for ask in first_pass] == [16, 16, 10]
    assert [template for ask in first_pass for template in ask[1]] == list(range(42))
    assert evidence.matches.template.unique().tolist() == sorted(best)
    assert len(evidence.matches.weight) == 3 * 4 * 16


def test_a_cluster_of_neighbours(certainty: Tensor) -> None:
    predictor = KnownScores(certainty)
    evidence = cluster_evidence(predictor, task(ModeSpec(num_templates=5, cluster="neighbours")))
    towards_best = icosphere_views(0) @ icosphere_views(0)[certainty.argmax()]
    cosines = towards_best[evidence.ranking.templates].sort(descending=True).values
    torch.testing.assert_close(cosines, towards_best.sort(descending=True).values[:5])


def test_given_templates_need_no_first_pass(certainty: Tensor) -> None:
    predictor = KnownScores(certainty)
    evidence = cluster_evidence(predictor, task(ModeSpec(), torch.tensor([7, 30])))
    assert [ask[0] for ask in predictor.asked] == ["together"]
    assert sorted(evidence.ranking.templates.tolist()) == [7, 30]
    assert set(evidence.matches.template.tolist()) == {7, 30}


@pytest.mark.parametrize("chunk", [1, 5, 42, 100])
def test_global_mode_keeps_the_best_of_all_chunks(certainty: Tensor, chunk: int) -> None:
    predictor = KnownScores(certainty)
    evidence = global_evidence(
        predictor, task(ModeSpec("global", num_templates=2, num_hypotheses=4, chunk=chunk))
    )
    best = certainty.argsort(descending=True)[:4]
    assert evidence.ranking.templates.tolist() == best.tolist()
    assert evidence.matches.template.unique_consecutive().tolist() == best.tolist()
    assert {ask[0] for ask in predictor.asked} == {"alone"}
    assert len(evidence.matches.weight) == 4 * 4 * 16


@pytest.fixture(
    scope="module",
    params=[("so3", 0), ("s2rope", 0), ("s2rope_equivariant", 2), ("none", 1)],
    ids=lambda chosen: f"{chosen[0]} {chosen[1]}",
)
def model(request: pytest.FixtureRequest) -> Vpog:
    return small_model(*request.param)


@pytest.fixture(scope="module")
def bank(model: Vpog) -> TemplateBank:
    return build_bank(model, random_views(model, 12), dtype=torch.float32)


@pytest.fixture(scope="module")
def predictor(model: Vpog, bank: TemplateBank) -> ModelPredictor:
    return ModelPredictor(model, bank, random_views(model, 1).select(0))


def test_the_order_of_templates_behind_the_anchor_changes_nothing(predictor: ModelPredictor) -> None:
    templates = torch.tensor([2, 5, 9, 11])
    order = torch.tensor([0, 3, 2, 1])
    plain, permuted = predictor.together(templates), predictor.together(templates[order])
    for got, want in zip(permuted, plain, strict=True):
        torch.testing.assert_close(got, want[order], atol=1e-5, rtol=1e-5)


def test_a_template_seen_alone_is_the_same_in_any_chunk(predictor: ModelPredictor) -> None:
    """Whatever the position code: neither the others of the chunk nor its place in it play a part."""
    everything = predictor.alone(torch.arange(12))
    for chunk in ([7], [3, 7], [7, 3, 0, 11, 4], [11, 10, 9, 8, 7, 6]):
        said = predictor.alone(torch.tensor(chunk))
        for got, want in zip(said, everything, strict=True):
            torch.testing.assert_close(got, want[chunk], atol=1e-5, rtol=1e-5)


def test_templates_seen_together_read_each_other(predictor: ModelPredictor) -> None:
    templates = torch.arange(12)
    difference = float((predictor.together(templates).logits - predictor.logits(templates)).abs().max())
    assert 1e-4 < difference < float(predictor.logits(templates).abs().max())


@pytest.mark.parametrize("count", [1, 4])
def test_the_anchor_is_that_of_training(
    model: Vpog, bank: TemplateBank, predictor: ModelPredictor, count: int
) -> None:
    """The nearest view and those around it, as a sample has them: what training computes is what inference does."""
    query = random_views(model, 1).select(0)
    near = axis_angle_to_matrix(torch.tensor([0.1, -0.05, 0.02], dtype=torch.float64)) @ POSES[5, :3, :3]
    chosen = select_templates(near[None], bank.cam_from_obj[:, :3, :3], num_positives=count, num_negatives=0)
    positives = chosen.positives[0]
    assert positives[0] == chosen.anchor[0] == 5
    with torch.inference_mode():
        poses, features = bank.cam_from_obj[positives][None], bank.features[positives][None]
        encoded, reference = model.encode(query.images[None]), chosen.ref_direction.float()
        trained = model.classify(model.attend(encoded, features, poses, reference))[0]
    torch.testing.assert_close(predictor.together(positives).logits, trained)
    if count == 1:
        torch.testing.assert_close(predictor.alone(torch.arange(12)).logits[[5]], trained)


def test_logits_and_predictions_agree(predictor: ModelPredictor) -> None:
    templates = torch.tensor([0, 4, 8])
    prediction = predictor.alone(templates)
    torch.testing.assert_close(prediction.logits, predictor.logits(templates))
    assert prediction.flow.shape == (3, 16, 8, 8, 2)
    assert prediction.scale.shape == (3, 16, 8, 8)
    assert not prediction.flow.requires_grad


def test_flow_is_that_of_the_best_partner(model: Vpog, predictor: ModelPredictor) -> None:
    from refkp.systems.pose.model.pairs import PatchPairs

    templates = torch.tensor([3, 6])
    prediction = predictor.together(templates)
    partner = int(prediction.logits[1, 5, :-1].argmax())
    with torch.inference_mode():
        one = [torch.tensor([value]) for value in (0, 1, 5, partner)]
        wanted = model.flow(predictor._tokens(templates[None]), PatchPairs(*one))
    torch.testing.assert_close(prediction.flow[1, 5], wanted.flow[0])


@pytest.mark.parametrize("chunk", [1, 5, 7])
def test_the_evidence_of_global_mode_is_the_same_in_any_chunks(
    predictor: ModelPredictor, bank: TemplateBank, chunk: int
) -> None:
    query, matching = random_views(predictor.model, 1).select(0), MatchSpec(min_weight=1e-3)

    def evidence(chunk: int) -> Evidence:
        modes = ModeSpec("global", 3, num_hypotheses=6, chunk=chunk, matching=matching)
        return global_evidence(predictor, Task(query, bank, PatchGrid(4, 4, 8), EstimatorSpec(modes)))

    whole, parts = evidence(12), evidence(chunk)
    assert torch.equal(whole.ranking.templates, parts.ranking.templates)
    for got, want in zip(parts.matches, whole.matches, strict=True):
        torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-5)


def test_verified_templates_come_from_the_estimator(certainty: Tensor) -> None:
    with pytest.raises(ValueError, match="templates"):
        cluster_evidence(KnownScores(certainty), task(ModeSpec()))


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match="mode"):
        ModeSpec(mode="all")
    with pytest.raises(ValueError, match="cluster"):
        ModeSpec(cluster="random")
    with pytest.raises(ValueError, match="num_templates"):
        ModeSpec(num_templates=0)
    with pytest.raises(ValueError, match=r"num_hypotheses.*>= num_templates = 20"):
        ModeSpec(mode="global", num_templates=20)
