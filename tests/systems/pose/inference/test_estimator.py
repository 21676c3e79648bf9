"""From a query to its pose: exact with perfect predictions, near with outliers, and no pose without support."""

from __future__ import annotations

import statistics
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from refkp.geometry.rotations import axis_angle_to_matrix
from refkp.systems.pose.inference.bank import TemplateBank, build_bank
from refkp.systems.pose.inference.estimator import PoseEstimate, PoseEstimator, estimate_pose
from refkp.systems.pose.inference.failure import EstimateFailure
from refkp.systems.pose.inference.grid import PatchGrid
from refkp.systems.pose.inference.ground_truth import TargetPredictor, prediction_from_targets
from refkp.systems.pose.inference.matches import Prediction
from refkp.systems.pose.inference.spec import EstimatorSpec, MatchSpec, ModeSpec, RansacSpec
from refkp.systems.pose.inference.task import Task
from refkp.systems.pose.targets import pose_targets
from refkp.systems.pose.views import Views
from tests.systems.pose.inference.ellipsoid import DIAMETER, PATCH, SIZE, query_views, template_views
from tests.systems.pose.inference.outliers import PoseError, WithOutliers, pose_error
from tests.systems.pose.inference.small import random_views, small_model

pytest.importorskip("cv2")

COLUMNS = SIZE // PATCH
GRID = PatchGrid(COLUMNS, COLUMNS, PATCH)
FEW = replace(EstimatorSpec(), modes=ModeSpec(matching=MatchSpec(max_count=400)))


@pytest.fixture(scope="module")
def templates() -> Views:
    return template_views()


def bank_of(views: Views) -> TemplateBank:
    return TemplateBank(torch.empty(len(views.depth), 0), views.depth, views.K, views.cam_from_obj)


def estimated(
    query: Views, views: Views, spec: EstimatorSpec = FEW, chosen: Tensor | None = None
) -> PoseEstimate:
    found = estimate_pose(
        TargetPredictor(query, views, PATCH), Task(query, bank_of(views), GRID, spec, chosen)
    )
    assert isinstance(found, PoseEstimate), found
    return found


@pytest.mark.parametrize("solver", ["ransac", "epropnp"])
@pytest.mark.parametrize("mode", ["cluster", "global"])
def test_perfect_predictions_give_the_exact_pose(templates: Views, mode: str, solver: str) -> None:
    spec = EstimatorSpec(ModeSpec(mode=mode, matching=MatchSpec(max_count=400)), solver=solver)
    for query in (query_views(2).select(index) for index in range(2)):
        found = estimated(query, templates, spec)
        error = pose_error(found.cam_from_obj, query.cam_from_obj)
        assert error.angle_deg < 1e-3
        assert error.distance_mm < 1e-3
        assert found.score == 1.0
        assert found.num_inliers == found.num_matches == len(found.matches.weight)
        assert float(found.median_px) < 1e-3
        assert found.seconds > 0


def test_the_best_template_looks_from_where_the_query_does(templates: Views) -> None:
    query = query_views(1, seed=4).select(0)
    found = estimated(query, templates)
    towards = -query.cam_from_obj[2, :3] @ -templates.cam_from_obj[found.template_index, 2, :3]
    assert float(towards) > 0.9


@pytest.mark.parametrize("cluster", ["verified", "neighbours", "scores"])
def test_every_cluster_finds_the_pose(templates: Views, cluster: str) -> None:
    query = query_views(1, seed=5).select(0)
    spec = EstimatorSpec(ModeSpec(cluster=cluster, matching=MatchSpec(max_count=400)))
    assert pose_error(estimated(query, templates, spec).cam_from_obj, query.cam_from_obj).angle_deg < 1e-3


class Overconfident(TargetPredictor):
    """The truth, but templates of the other side claim to match better than all others, with wrong matches."""

    def together(self, templates: Tensor) -> Prediction:
        prediction = super().together(templates)
        away = self.templates.cam_from_obj[templates][:, 2, :3] @ self.query.cam_from_obj[0, 2, :3] < -0.9
        generator = torch.Generator().manual_seed(int(templates.sum()))
        partner = torch.randint(GRID.num_patches, prediction.logits.shape[:2], generator=generator)
        claims = 50.0 * torch.nn.functional.one_hot(partner, GRID.num_patches + 1)
        logits = torch.where(away[:, None, None], claims, prediction.logits)
        flow = 8 * torch.rand(prediction.flow.shape, generator=generator) - 4
        far = away[:, None, None, None]
        scale = torch.where(far, torch.tensor(0.01), prediction.scale)
        return Prediction(logits, torch.where(far[..., None], flow, prediction.flow), scale)


def test_geometry_sees_through_templates_that_claim_too_much(templates: Views) -> None:
    query = query_views(1, seed=6).select(0)
    predictor = Overconfident(query, templates, PATCH)
    by_score, verified = (
        estimate_pose(
            predictor,
            Task(
                query,
                bank_of(templates),
                GRID,
                EstimatorSpec(
                    ModeSpec(cluster=cluster, num_hypotheses=24, matching=MatchSpec(max_count=200))
                ),
            ),
        )
        for cluster in ("scores", "verified")
    )
    assert isinstance(by_score, EstimateFailure)
    assert isinstance(verified, PoseEstimate), verified
    assert pose_error(verified.cam_from_obj, query.cam_from_obj).angle_deg < 1e-2


@pytest.mark.parametrize("kind", ["pixels", "patches"])
def test_outliers_move_the_pose_little(templates: Views, kind: str) -> None:
    errors: list[PoseError] = []
    for index in range(5):
        query = query_views(5, seed=1).select(index)
        predictor = WithOutliers(TargetPredictor(query, templates, PATCH), 0.3, kind, COLUMNS, seed=index)
        found = estimate_pose(predictor, Task(query, bank_of(templates), GRID, FEW))
        assert isinstance(found, PoseEstimate), found
        assert found.score < 1  # outliers are among the matches
        errors.append(pose_error(found.cam_from_obj, query.cam_from_obj))
    assert statistics.median(error.angle_deg for error in errors) < 1.0
    assert statistics.median(error.distance_mm for error in errors) < 0.01 * DIAMETER


@pytest.mark.parametrize("kind", ["coarse", "soft"])
def test_patch_centres_alone_give_a_rough_pose(templates: Views, kind: str) -> None:
    matching, ransac = MatchSpec(kind=kind), RansacSpec(threshold_px=PATCH)
    query = query_views(1).select(0)
    found = estimated(query, templates, EstimatorSpec(ModeSpec(matching=matching), ransac=ransac))
    assert pose_error(found.cam_from_obj, query.cam_from_obj).angle_deg < 8.0


def test_another_frame_of_the_object_gives_the_same_view(templates: Views) -> None:
    turn = torch.eye(4, dtype=torch.float64)
    turn[:3, :3] = axis_angle_to_matrix(torch.tensor([0.7, -0.4, 1.1], dtype=torch.float64))
    turn[:3, 3] = torch.tensor([30.0, -12.0, 8.0])
    query = query_views(1, seed=2).select(0)
    plain = estimated(query, templates)
    moved = estimated(
        query._replace(cam_from_obj=query.cam_from_obj @ turn),
        templates._replace(cam_from_obj=templates.cam_from_obj @ turn),
    )
    torch.testing.assert_close(moved.cam_from_obj, plain.cam_from_obj @ turn, atol=1e-3, rtol=1e-5)


def test_a_seed_makes_it_repeatable(templates: Views) -> None:
    query = query_views(1).select(0)
    first, second = (estimated(query, templates) for _ in range(2))
    assert torch.equal(first.cam_from_obj, second.cam_from_obj)
    assert torch.equal(first.covariance, second.covariance)


def test_templates_may_be_given(templates: Views) -> None:
    query = query_views(1).select(0)
    best = estimated(query, templates).template_index
    found = estimated(query, templates, chosen=torch.tensor([best]))
    assert set(found.matches.template.tolist()) == {best}
    for wrong in (torch.tensor([162]), torch.tensor([-1]), torch.empty(0, dtype=torch.int64)):
        with pytest.raises(ValueError, match=r"indices in 0\.\.161"):
            estimated(query, templates, chosen=wrong)
    with pytest.raises(ValueError, match="global"):
        estimated(query, templates, EstimatorSpec(ModeSpec(mode="global")), torch.tensor([0]))


def failure(query: Views, views: Views, spec: EstimatorSpec = FEW) -> str:
    found = estimate_pose(TargetPredictor(query, views, PATCH), Task(query, bank_of(views), GRID, spec))
    assert isinstance(found, EstimateFailure)
    return found.reason


def test_no_support_is_a_failure_with_its_reason(templates: Views) -> None:
    query = query_views(1).select(0)
    empty = query._replace(masks=torch.zeros_like(query.masks))
    assert failure(empty, templates) == "empty_mask"
    blind = templates._replace(depth=torch.full_like(templates.depth, torch.nan))
    assert failure(query, blind) == "too_few_matches"


def test_a_few_pixels_of_bad_template_depth_are_skipped(templates: Views) -> None:
    query = query_views(1).select(0)
    holes = torch.where(torch.rand(templates.depth.shape) < 0.2, torch.nan, templates.depth)
    bank = bank_of(templates._replace(depth=holes))
    found = estimate_pose(TargetPredictor(query, templates, PATCH), Task(query, bank, GRID, FEW))
    assert isinstance(found, PoseEstimate)
    assert pose_error(found.cam_from_obj, query.cam_from_obj).angle_deg < 1e-3
    assert found.num_dropped > 100


class Guesses:
    """A predictor that knows nothing but is sure."""

    def logits(self, templates: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(int(templates.sum()))
        logits = 10 * torch.randn(len(templates), GRID.num_patches, GRID.num_patches + 1, generator=generator)
        logits[..., -1] = -100.0
        return logits

    def together(self, templates: Tensor) -> Prediction:
        logits = self.logits(templates)
        shape = (*logits.shape[:2], PATCH, PATCH)
        flow = 8 * torch.rand(*shape, 2, generator=torch.Generator().manual_seed(0)) - 4
        return Prediction(logits, flow, torch.full(shape, 0.01))

    alone = together


@pytest.mark.parametrize("solver", ["ransac", "epropnp"])
def test_random_matches_give_no_pose(templates: Views, solver: str) -> None:
    query = query_views(1).select(0)
    spec = EstimatorSpec(ModeSpec(matching=MatchSpec(max_count=100)), solver=solver)
    found = estimate_pose(Guesses(), Task(query, bank_of(templates), GRID, spec))
    assert isinstance(found, EstimateFailure), found.num_inliers
    assert found.reason == "no_consensus"


def test_targets_as_a_prediction(templates: Views) -> None:
    query = Views(*(tensor[:1] for tensor in query_views(1)))
    some = Views(*(tensor[None, :5] for tensor in templates))
    targets = pose_targets(query, some, PATCH)
    prediction = prediction_from_targets(targets, scale=0.02)
    count = GRID.num_patches
    classes = prediction.logits.argmax(-1)
    background = targets.labels[0] == -1
    assert torch.equal(classes[~background], targets.labels[0][~background])
    assert bool((classes[background] == count).all())
    assert torch.equal(prediction.weight > 1, targets.visible[0])


def test_an_untrained_model_runs_and_claims_nothing() -> None:
    model = small_model()
    views = random_views(model, 9)
    for mode in ("cluster", "global"):
        matching = MatchSpec(min_weight=1e-3, max_count=200)
        spec = EstimatorSpec(ModeSpec(mode=mode, chunk=4, matching=matching))
        found = PoseEstimator(model, build_bank(model, views), spec).estimate(
            random_views(model, 1).select(0)
        )
        assert isinstance(found, EstimateFailure)


def test_queries_are_checked(templates: Views) -> None:
    query = query_views(1)
    with pytest.raises(ValueError, match="one view"):
        Task(query, bank_of(templates), GRID)
    bad = query.select(0)
    bad = bad._replace(images=torch.full_like(bad.images, torch.nan))
    with pytest.raises(ValueError, match=r"query\.images"):
        Task(bad, bank_of(templates), GRID)
    with pytest.raises(ValueError, match="solver"):
        EstimatorSpec(solver="guess")
