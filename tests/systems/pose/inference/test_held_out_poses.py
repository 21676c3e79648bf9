"""Ground truth in place of predictions: held-out poses of real and generated objects come back."""

from __future__ import annotations

import os
import statistics
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

pytest.importorskip("trimesh", reason="needs the extra `pose`")
pytest.importorskip("embreex", reason="needs the extra `pose`")
pytest.importorskip("cv2", reason="needs the extra `pose`")
pytest.importorskip("PIL", reason="needs the extra `viz`")

from refkp.data.meshes import Mesh, load_mesh
from refkp.data.shapes import make_object
from refkp.systems.pose.inference.bank import TemplateBank
from refkp.systems.pose.inference.estimator import PoseEstimate, estimate_pose
from refkp.systems.pose.inference.grid import PatchGrid
from refkp.systems.pose.inference.ground_truth import TargetPredictor
from refkp.systems.pose.inference.predictor import Predictor
from refkp.systems.pose.inference.task import Task
from refkp.systems.pose.views import Views
from tests.systems.pose.inference.outliers import WithOutliers, pose_error
from tests.systems.pose.inference.rendered import PATCH, SIZE, held_out_views, template_views, view_angle_deg

COLUMNS = SIZE // PATCH


class Setting(NamedTuple):
    """An object with its 162 templates and views that are none of them."""

    diameter: float
    templates: Views
    queries: Views


class Medians(NamedTuple):
    """Over all queries."""

    angle_deg: float
    distance: float  # in diameters
    view_gap_deg: float  # between the query and the template that supports the pose most


def setting(mesh: Mesh, count: int) -> Setting:
    return Setting(mesh.diameter, template_views(mesh), held_out_views(mesh, count))


@pytest.fixture(scope="module")
def bottle() -> Setting:
    root = os.environ.get("REFKP_DATA")
    if root is None:
        pytest.skip("REFKP_DATA is not set")
    return setting(load_mesh(Path(root) / "pose/fuze_bottle/fuze.obj", unit="m"), count=20)


@pytest.fixture(scope="module")
def generated() -> Setting:
    return setting(make_object("mug", seed=0), count=6)


def medians(given: Setting, outliers: float = 0.0, kind: str = "pixels") -> Medians:
    views, errors, gaps = given.templates, [], []
    bank = TemplateBank(torch.empty(len(views.depth), 0), views.depth, views.K, views.cam_from_obj)
    for index in range(len(given.queries.depth)):
        query = given.queries.select(index)
        predictor: Predictor = TargetPredictor(query, views, PATCH)
        if outliers:
            predictor = WithOutliers(predictor, outliers, kind, COLUMNS, seed=index)
        found = estimate_pose(predictor, Task(query, bank, PatchGrid(COLUMNS, COLUMNS, PATCH)))
        assert isinstance(found, PoseEstimate), found
        errors.append(pose_error(found.cam_from_obj, query.cam_from_obj))
        gaps.append(view_angle_deg(query.cam_from_obj, views.cam_from_obj[found.template_index]))
    found_medians = Medians(
        statistics.median(error.angle_deg for error in errors),
        statistics.median(error.distance_mm for error in errors) / given.diameter,
        statistics.median(gaps),
    )
    print(found_medians)
    return found_medians


@pytest.mark.realdata
@pytest.mark.slow
class TestBottle:
    def test_perfect_predictions(self, bottle: Setting) -> None:
        found = medians(bottle)
        assert found.angle_deg < 0.2
        assert found.distance < 0.005
        assert found.view_gap_deg < 20

    @pytest.mark.parametrize("kind", ["pixels", "patches"])
    def test_three_of_ten_matches_are_wrong(self, bottle: Setting, kind: str) -> None:
        found = medians(bottle, 0.3, kind)
        assert found.angle_deg < 1.0
        assert found.distance < 0.01


@pytest.mark.slow
class TestGeneratedObject:
    def test_perfect_predictions(self, generated: Setting) -> None:
        found = medians(generated)
        assert found.angle_deg < 0.2
        assert found.distance < 0.005

    def test_three_of_ten_matches_are_wrong(self, generated: Setting) -> None:
        assert medians(generated, 0.3).angle_deg < 1.0
