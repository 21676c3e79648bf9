"""Fits of made-up sessions: joints, bones, two views, gaps; their derivatives; labels that are left out."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("cv2", reason="needs the extra `multiview`")
pytest.importorskip("h5py", reason="needs the extra `multiview`")

from refkp.geometry.rotations import axis_angle_to_matrix
from refkp.systems.multiview.body.joint_table import joint_map
from refkp.systems.multiview.body.posing import JointsOnly
from refkp.systems.multiview.body.species import species_body
from refkp.systems.multiview.data.generator import MadeUpSession, make_session, write_session
from refkp.systems.multiview.data.spec import SessionSpec
from refkp.systems.multiview.fitting import fit as fitting
from refkp.systems.multiview.fitting.derivative import joint_derivative
from refkp.systems.multiview.fitting.fit import BodyFit, fit_body, labelled_points
from refkp.systems.multiview.fitting.held_out import judge, without_some
from refkp.systems.multiview.fitting.spec import FitSpec
from refkp.systems.multiview.fitting.variables import Variables
from refkp.systems.multiview.reading import read_recording
from refkp.systems.multiview.reconstruction import reconstruct
from refkp.systems.multiview.session import Recording
from tests.systems.multiview.body.bodies import made_up_body

SPEC = SessionSpec(
    num_frames=60, shape_sigma=1.0, noise_px=2.0, missing=0.2, outliers=0.05, with_videos=False
)
HIDDEN = slice(30, 45)  # half a second


class Fitted(NamedTuple):
    truth: MadeUpSession
    recording: Recording
    joint_map: Tensor
    found: BodyFit


@pytest.fixture(scope="module", params=["quadruped", "mouse"])
def fitted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    """A fit of labels with a noise of 2 px, a fifth missing, a twentieth elsewhere; a limb is hidden for a while."""
    spec = SessionSpec(**{**SPEC.__dict__, "body": request.param})
    truth = make_session(spec, seed=3)
    limb = [truth.body.joint_names.index(name) for name in HIDDEN_LIMBS[request.param]]
    truth.labels[HIDDEN, :, limb] = np.nan
    folder = tmp_path_factory.mktemp("session")
    write_session(folder, truth, spec)
    recording = read_recording(folder)
    labels = joint_map(truth.body.joint_names, recording.joints)
    return Fitted(truth, recording, labels, fit_body(recording, truth.body, labels))


HIDDEN_LIMBS = {"quadruped": ("paw_front_left",), "mouse": ("Tail_1", "Tail_2", "TailTip")}


def off(fitted: Fitted) -> Tensor:
    """Distances [F,J] from the truth, in lengths of the body."""
    return (fitted.found.joints - torch.from_numpy(fitted.truth.points)).norm(dim=-1) / SPEC.body_length


def test_joints_are_found_to_two_percent_of_the_body(fitted: Fitted) -> None:
    assert float(off(fitted).mean()) < 0.02  # 0.011 to 0.014 over species and seeds
    assert 1.6 < fitted.found.noise_px < 2.3


def test_joints_as_points_of_the_recording(fitted: Fitted) -> None:
    """With gaps in the frames and a joint that the body lacks, each point is at its frame and joint."""
    found = fitted.found
    kept = torch.tensor([0, 1, 2, 5, 6])
    some = found._replace(
        motion=found.motion._replace(frames=found.motion.frames[kept] + 7), joints=found.joints[kept]
    )
    order = torch.randperm(len(fitted.joint_map), generator=torch.Generator().manual_seed(0))
    order[3] = -1
    points, first = labelled_points(some, order, len(order) + 1)
    assert first == int(found.motion.frames[0]) + 7
    assert points.shape == (7, len(order) + 1, 3)
    for joint, label in enumerate(order.tolist()):
        if label >= 0:
            np.testing.assert_array_equal(points[[0, 1, 2, 5, 6], label], some.joints[:, joint].numpy())
    assert np.isnan(points[[3, 4]]).all()
    assert np.isnan(points[:, -1]).all()


def test_bones_are_found_to_two_percent(fitted: Fitted) -> None:
    parents = list(fitted.truth.body.parents[1:])
    mine, true = (
        (points[:, 1:] - points[:, parents]).norm(dim=-1).median(0).values
        for points in (fitted.found.joints, torch.from_numpy(fitted.truth.points))
    )
    assert float((mine / true - 1).abs().mean()) < 0.02  # 0.008 to 0.015


def test_where_two_views_see_a_joint_the_body_is_twice_as_near(fitted: Fitted) -> None:
    plain = torch.from_numpy(reconstruct(fitted.recording).points)[:, fitted.joint_map]
    seen = torch.isfinite(fitted.found.uv).all(-1).sum(1)
    error = (plain - torch.from_numpy(fitted.truth.points)).norm(dim=-1) / SPEC.body_length
    two = (seen == 2) & error.isfinite()
    assert int(two.sum()) > 50
    assert float(off(fitted)[two].mean()) < 0.5 * float(error[two].mean())


def test_a_limb_that_is_hidden_for_half_a_second_is_bridged(fitted: Fitted) -> None:
    body = fitted.truth.body
    name = "paw_front_left" if "paw_front_left" in body.joint_names else "Tail_1"
    joint = body.joint_names.index(name)
    hidden = off(fitted)[HIDDEN, joint]
    assert bool(hidden.isfinite().all())
    still = torch.from_numpy(fitted.truth.points)[HIDDEN.start - 1, joint]
    left_there = (torch.from_numpy(fitted.truth.points)[HIDDEN, joint] - still).norm(
        dim=-1
    ) / SPEC.body_length
    assert float(hidden.mean()) < 0.15
    assert float(hidden.mean()) < 0.4 * float(left_there.mean())
    filled = reconstruct(fitted.recording, over_time=True).points[HIDDEN][:, fitted.joint_map[joint]]
    of_points = np.linalg.norm(filled - fitted.truth.points[HIDDEN, joint], axis=-1) / SPEC.body_length
    assert float(hidden.mean()) < of_points.mean()


def test_labels_that_were_left_out_are_nearer_to_the_body_than_to_points(fitted: Fitted) -> None:
    seen = without_some(fitted.recording, 0.15, seed=1)
    again = without_some(fitted.recording, 0.15, seed=1)
    for a, b in zip(seen.views, again.views, strict=True):
        np.testing.assert_array_equal(a.labels.xy, b.labels.xy)
    found = fit_body(seen, fitted.truth.body, fitted.joint_map)
    body, points = judge(fitted.recording, seen, found, fitted.joint_map, None)
    assert body.missed == 0
    assert body.number == points.number + points.missed > 100
    assert body.median_px < points.median_px


def test_a_long_recording_is_solved_in_parts(fitted: Fitted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "_TOGETHER", 40)
    monkeypatch.setattr(fitting, "_OVERLAP", 16)
    found = fit_body(fitted.recording, fitted.truth.body, fitted.joint_map)
    assert found.joints.shape == fitted.found.joints.shape
    apart = (found.joints - fitted.found.joints).norm(dim=-1) / SPEC.body_length
    assert float(apart.mean()) < 0.01


@pytest.mark.parametrize("static", [False, True])
def test_the_derivative_of_the_joints(static: bool) -> None:
    torch.manual_seed(0)
    body = made_up_body(static=static, posedirs=False)
    joints = JointsOnly(body)
    variables = Variables(
        axis_angle_to_matrix(torch.randn(3, 5, 3, dtype=torch.float64)),
        torch.randn(3, 3, dtype=torch.float64),
        torch.tensor(0.3, dtype=torch.float64),
        torch.randn(3, dtype=torch.float64),
        torch.tensor([0.0, 0.2, -0.1, 0.3, 0.1], dtype=torch.float64),
    )
    found = joint_derivative(variables, joints)
    frames, shared = torch.zeros(3, 18, dtype=torch.float64), torch.zeros(9, dtype=torch.float64)

    def moved(frames: Tensor, shared: Tensor) -> Tensor:
        return joints(variables.moved(frames, shared).pose(joints))

    by_frames, by_shared = torch.autograd.functional.jacobian(moved, (frames, shared))
    torch.testing.assert_close(found.joints, moved(frames, shared))
    for frame in range(3):
        torch.testing.assert_close(found.by_frame[frame], by_frames[frame, :, :, frame])
    torch.testing.assert_close(found.by_shared, by_shared, rtol=1e-4, atol=1e-4)  # shapes by differences


def test_what_cannot_be_fitted_is_told(tmp_path: Path) -> None:
    truth = make_session(SessionSpec(num_frames=3, with_videos=False))
    truth.labels[:, :, 2:] = np.nan
    write_session(tmp_path, truth, SessionSpec(num_frames=3, with_videos=False))
    recording = read_recording(tmp_path)
    labels = joint_map(truth.body.joint_names, recording.joints)
    with pytest.raises(ValueError, match="with three joints of the body in space"):
        fit_body(recording, truth.body, labels)
    with pytest.raises(ValueError, match=r"`held_out` must be in \[0,1\)"):
        without_some(recording, 1.0)
    with pytest.raises(ValueError, match="`turn_deg` must be finite and above 0"):
        FitSpec(turn_deg=0.0)
    with pytest.raises(ValueError, match="names of at least 3 joints"):
        joint_map(species_body("insect").joint_names, recording.joints)
