"""The whole objective: the truth costs nothing but what is believed before, and every error its own term."""

from __future__ import annotations

import math
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

pytest.importorskip("embreex", reason="needs the extra `multiview`")
pytest.importorskip("trimesh", reason="needs the extra `multiview`")
pytest.importorskip("PIL", reason="needs the extra `multiview`")
pytest.importorskip("cv2", reason="needs the extra `multiview`")
pytest.importorskip("h5py", reason="needs the extra `multiview`")
pytest.importorskip("transformers", reason="needs the extra `multiview`")

from refkp.geometry.rotations import axis_angle_to_matrix
from refkp.systems.multiview.body.posing import BodyPose, JointsOnly
from refkp.systems.multiview.body.species import species_body
from refkp.systems.multiview.data.collation import collate
from refkp.systems.multiview.data.dataset import MultiviewDataset
from refkp.systems.multiview.data.rendered import render_samples
from refkp.systems.multiview.data.sample_spec import SampleSpec
from refkp.systems.multiview.losses.objective import Objective, ObjectiveTerms
from refkp.systems.multiview.losses.spec import LossSpec
from refkp.systems.multiview.losses.truth import Truth, truth_of
from refkp.systems.multiview.model.network import Estimate

SIZE = 40
#: Terms that are 0 at the truth.
ERRORS = (
    *("keypoints", "places", "points", "root_rotation", "rotations", "betas"),
    *("focal", "camera_rotation", "camera_translation", "triangulation", "joint_limit"),
)


class Case(NamedTuple):
    truth: Truth
    estimate: Estimate  # the truth
    unit: Tensor


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    body = species_body("insect")
    path = tmp_path_factory.mktemp("data") / "samples.h5"
    spec = SampleSpec(num_animals=2, num_poses=2, num_views=3, size=SIZE, place_sigma=0, joint_sigma_deg=5)
    render_samples(path, body, spec)
    dataset = MultiviewDataset(path)
    truth = truth_of(collate([dataset[place] for place in range(4)]))
    pose = BodyPose(truth.rotations, truth.trans, truth.betas)
    reach = (JointsOnly(body)(pose) - truth.trans[:, None]).norm(dim=-1).sum(1)
    size = (truth.points - truth.trans[:, None]).norm(dim=-1).sum(1) / reach  # files do not hold it
    pose = pose._replace(size=size[:, None])
    estimate = Estimate(pose, truth.cameras, (pose,), truth.keypoints.nan_to_num())
    return Case(truth, estimate, torch.tensor(0.08))


def told(case: Case, estimate: Estimate) -> ObjectiveTerms:
    objective = Objective(LossSpec(triangulation=1.0), species_body("insect"), SIZE)
    nothing = torch.zeros_like(case.truth.has_camera)
    return objective(estimate, case.truth, case.unit, calibrated=nothing, all_ranks=False)


def test_the_truth_costs_nothing(case: Case) -> None:
    terms = told(case, case.estimate).values
    for name in ERRORS:
        assert float(terms[name]) < 1e-4, name
    assert {f"{name}/1" for name in ("keypoints", "points", "root_rotation", "rotations")} <= terms.keys()


def raised(case: Case, **changed: object) -> dict[str, float]:
    """The terms of errors that a change of the truth raises."""
    terms = told(case, case.estimate._replace(**changed)).values
    return {name: float(terms[name]) for name in ERRORS if float(terms[name]) > 1e-3}


def test_places_are_tenths_of_the_picture_squared(case: Case) -> None:
    moved = case.estimate.places + torch.tensor([SIZE / 10, 0.0])  # type: ignore[operator]
    assert raised(case, places=moved) == {"places": pytest.approx(1.0, abs=1e-3)}


def test_root_and_joints_have_terms_of_their_own(case: Case) -> None:
    pose, angle = case.estimate.pose, torch.tensor([0.0, 0.0, 0.2])
    for joint, name, count in ((0, "root_rotation", 1), (4, "rotations", 23)):
        rotations = pose.rotations.clone()
        rotations[:, joint] = rotations[:, joint] @ axis_angle_to_matrix(angle)
        terms = raised(case, pose=pose._replace(rotations=rotations))
        assert terms.keys() <= {name, "points", "keypoints", "triangulation", "joint_limit"}
        assert terms[name] == pytest.approx(8**0.5 * math.sin(0.1) / count, rel=1e-3)


def test_cameras_have_terms_of_their_own(case: Case) -> None:
    cameras = case.truth.cameras
    turned = cameras._replace(R=axis_angle_to_matrix(torch.tensor([0.0, 0.1, 0.0])) @ cameras.R)
    terms = raised(case, cameras=turned)
    assert terms["camera_rotation"] == pytest.approx(0.1, rel=1e-3)
    assert terms.keys() == {"camera_rotation", "keypoints", "triangulation"}
    longer = raised(case, cameras=cameras._replace(K=cameras.K * torch.tensor([1.1, 1.1, 1.0])[:, None]))
    assert longer["focal"] == pytest.approx(100 * math.log(1.1) ** 2, rel=1e-3)


def test_given_cameras_teach_nothing_of_themselves(case: Case) -> None:
    cameras = case.truth.cameras
    turned = cameras._replace(R=axis_angle_to_matrix(torch.tensor([0.0, 0.1, 0.0])) @ cameras.R)
    objective = Objective(LossSpec(), species_body("insect"), SIZE)
    given = case.estimate._replace(cameras=turned)
    terms = objective(given, case.truth, case.unit, calibrated=case.truth.has_camera, all_ranks=False)
    assert float(terms.values["camera_rotation"]) == 0
    assert float(terms.values["camera_translation"]) == 0
