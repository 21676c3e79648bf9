"""A confidence rises with every kind of evidence, and says yes and no where that is plain."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from refkp.systems.pose.inference.bank import TemplateBank
from refkp.systems.pose.inference.confidence import CALIBRATION, Calibration, Features, confidence, features
from refkp.systems.pose.inference.estimator import PoseEstimate, estimate_pose
from refkp.systems.pose.inference.failure import EstimateFailure
from refkp.systems.pose.inference.grid import PatchGrid
from refkp.systems.pose.inference.ground_truth import TargetPredictor
from refkp.systems.pose.inference.matches import Prediction
from refkp.systems.pose.inference.outline import Outline
from refkp.systems.pose.inference.spec import EstimatorSpec
from refkp.systems.pose.inference.support import Support
from refkp.systems.pose.inference.task import Task
from refkp.systems.pose.views import Views
from tests.systems.pose.inference.ellipsoid import SIZE, query_views, template_views
from tests.systems.pose.inference.outliers import pose_error

GOOD, BAD = (Support(40, 44, 0.9), Outline(0.98, 0.95)), (Support(9, 40, 0.2), Outline(0.6, 0.5))


def test_by_hand() -> None:
    calibration = Calibration(-1.0, Features(0.5, 0.0, 0.0, 0.0, 0.0))
    assert confidence(Support(3, 5, 0.5), Outline(0.5, 0.5), calibration) == pytest.approx(
        1 / (1 + math.exp(1 - 0.5 * math.log(4)))
    )
    assert features(Support(2, 4, 0.5), Outline(0.5, 0.5))[1:] == (0.0, 0.0, 0.0, 0.0)
    assert features(Support(0, 0, 0.0), Outline(0.0, 1.0)).patches == 0.0


@pytest.mark.parametrize("evidence", [GOOD, BAD], ids=["good", "bad"])
@pytest.mark.parametrize(
    ("part", "name", "more"),
    [(0, "num_agreeing", 1), (0, "area", 0.05), (1, "inside", 0.01), (1, "filled", 0.02)],
)
def test_more_evidence_is_more_confidence(
    evidence: tuple[Support, Outline], part: int, name: str, more: float
) -> None:
    better: list[Any] = list(evidence)
    better[part] = better[part]._replace(**{name: getattr(better[part], name) + more})
    assert confidence(*better) > confidence(*evidence)


def test_plain_cases() -> None:
    assert confidence(*GOOD) > 0.9
    assert confidence(*BAD) < 0.1
    assert confidence(GOOD[0], BAD[1]) < confidence(*GOOD)
    assert all(weight > 0 for weight in CALIBRATION.weights)


def bank_of(templates: Views) -> TemplateBank:
    return TemplateBank(
        torch.empty(len(templates.depth), 0), templates.depth, templates.K, templates.cam_from_obj
    )


@pytest.mark.parametrize("seed", range(3))
def test_true_matches_of_a_thin_object_are_a_pose(seed: int) -> None:
    """Few patches of a grid of 8 x 8, a fifth of the crop at most, and every match right: chance cannot do that."""
    axes = torch.tensor([11.0, 9.0, 75.0], dtype=torch.float64)
    templates, grid = template_views(axes), PatchGrid(8, 8, 12)
    query = query_views(1, seed, axes).select(0)
    assert float(query.masks.double().mean()) < 0.2
    found = estimate_pose(TargetPredictor(query, templates, 12), Task(query, bank_of(templates), grid))
    assert isinstance(found, PoseEstimate), found
    assert pose_error(found.cam_from_obj, query.cam_from_obj).angle_deg < 0.1


class Halved(TargetPredictor):
    """The truth, with patches of the right half shifted by as much as they are wide."""

    def alone(self, templates: torch.Tensor) -> Prediction:
        return self._halved(super().alone(templates))

    def together(self, templates: torch.Tensor) -> Prediction:
        return self._halved(super().together(templates))

    def _halved(self, prediction: Prediction) -> Prediction:
        columns = SIZE // self.patch_size
        right = torch.arange(prediction.flow.shape[1]) % columns >= columns // 2
        return prediction._replace(flow=prediction.flow + right[:, None, None, None])


def test_half_of_the_evidence_is_less_confidence() -> None:
    templates = template_views()
    bank = bank_of(templates)
    query, grid = query_views(1, seed=8).select(0), PatchGrid(12, 12, 8)
    everything = EstimatorSpec(min_confidence=0.0)
    sure, unsure = (
        estimate_pose(predictor(query, templates, 8), Task(query, bank, grid, everything))
        for predictor in (TargetPredictor, Halved)
    )
    assert isinstance(sure, PoseEstimate)
    assert isinstance(unsure, PoseEstimate)
    assert sure.confidence > unsure.confidence
    assert unsure.support.area < 0.7 < sure.support.area


def test_an_unlikely_pose_is_told_with_its_evidence() -> None:
    templates = template_views()
    bank = bank_of(templates)
    query, grid = query_views(1, seed=8).select(0), PatchGrid(12, 12, 8)
    found = estimate_pose(
        Halved(query, templates, 8), Task(query, bank, grid, EstimatorSpec(min_confidence=1.0))
    )
    assert isinstance(found, EstimateFailure)
    assert found.reason == "uncertain"
    for part in ("patches agree", "of the mask", "tighter mask", "`--estimator.min_confidence`"):
        assert part in found.message


@pytest.mark.parametrize("wrong", [-0.1, 1.1, float("nan")])
def test_the_least_confidence_is_a_probability(wrong: float) -> None:
    with pytest.raises(ValueError, match="min_confidence"):
        EstimatorSpec(min_confidence=wrong)
