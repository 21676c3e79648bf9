"""Which instants become samples, and why others do not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("h5py", reason="needs the extra `multiview`")
pytest.importorskip("sleap_io", reason="needs the extra `multiview`")
pytest.importorskip("cv2", reason="needs the extra `multiview`")

from refkp.systems.multiview.data.generator import MadeUpSession
from refkp.systems.multiview.preprocessing.planning import SessionPlan, outliers, plan_session
from refkp.systems.multiview.preprocessing.spec import PreprocessSpec
from refkp.systems.multiview.reading import read_recording
from refkp.systems.multiview.session import Recording, SpacePoints
from tests.systems.multiview.preprocessing.support import small_session

Made = tuple[Recording, MadeUpSession]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("planned") / "walk"
    return (session := small_session(folder, with_videos=False)) and (
        _filmed(read_recording(folder)),
        session,
    )


def _filmed(recording: Recording) -> Recording:
    """Videos are not opened to plan."""
    return replace(recording, views=tuple(replace(view, video=Path("there.avi")) for view in recording.views))


def _plan(recording: Recording, **options: object) -> SessionPlan:
    return plan_session(recording, PreprocessSpec(**options), recording.joints)  # type: ignore[arg-type]


def _changed(recording: Recording, view: int, **parts: object) -> Recording:
    views = list(recording.views)
    views[view] = replace(views[view], labels=views[view].labels._replace(**parts))
    return replace(recording, views=tuple(views))


def test_frames_of_too_few_views_are_left_out_and_counted(made: Made) -> None:
    recording, _ = made
    xy = recording.views[0].labels.xy.copy()
    xy[:6] = np.nan
    fewer = _changed(recording, 0, xy=xy)
    assert _plan(fewer, min_views=3).counts["frames of too few views"] == 6
    assert _plan(fewer, min_views=3).instants.frames.tolist() == list(range(6, 20))
    two = _plan(fewer, min_views=2)
    assert two.instants.used.sum(1).tolist() == [2] * 6 + [3] * 14
    assert two.counts["views without labels"] == 6


def test_thinning_comes_before_the_limit(made: Made) -> None:
    plan = _plan(made[0], frame_skip=3, max_frames=4)
    assert plan.instants.frames.tolist() == [0, 3, 6, 9]
    assert (plan.counts["samples"], plan.counts["frames thinned out"]) == (4, 16)


def test_views_without_a_video_are_not_used(made: Made) -> None:
    recording, _ = made
    blind = replace(recording, views=(replace(recording.views[0], video=None), *recording.views[1:]))
    plan = _plan(blind)
    assert not plan.instants.used[:, 0].any()
    assert plan.counts["views without a video"] == 20


def test_points_of_low_score_are_missing_and_those_without_a_score_stay(made: Made) -> None:
    recording, _ = made
    score = recording.views[1].labels.score.copy()
    score[:, 0, 2], score[:, 0, 3] = 0.1, np.nan
    scored = _changed(recording, 1, score=score)
    there = recording.views[1].labels.visible[:, 0]
    plan = _plan(scored, min_score=0.5)
    assert plan.counts["points of low score"] == there[:, 2].sum() > 0
    assert not plan.instants.visibility[:, 1, 2].any()
    assert (plan.instants.visibility[:, 1, 3] == there[:, 3]).all()
    soft = _plan(scored, soft_visibility=True).instants.visibility[:, 1]
    np.testing.assert_allclose(soft[there[:, 2], 2], 0.1, rtol=1e-6)
    assert (soft[there[:, 3], 3] == 1).all()
    assert (_plan(scored).instants.visibility[:, 1, 2] == there[:, 2]).all()


def test_points_are_where_a_camera_without_distortion_sees_them(made: Made) -> None:
    recording, session = made
    rig = session.calibration.rig
    camera = np.einsum("vij,fkj->fvki", rig.R.numpy(), session.points) + rig.t.numpy()[:, None]
    seen = np.einsum("vij,fvkj->fvki", rig.K.numpy(), camera)
    plan = _plan(recording)
    there = np.isfinite(plan.instants.xy)
    np.testing.assert_allclose(plan.instants.xy[there], (seen[..., :2] / seen[..., 2:])[there], atol=1e-6)
    raw = _plan(recording, undistort=False).instants.xy
    np.testing.assert_array_equal(raw[there], session.labels[there])


def test_outliers_in_space_take_their_labels_along(made: Made) -> None:
    recording, _ = made
    assert recording.points is not None
    xyz = recording.points.xyz.copy()
    xyz[4, 0, 5] += 5000
    plan = _plan(replace(recording, points=recording.points._replace(xyz=xyz)))
    assert plan.counts["outliers in space"] == 1
    assert np.isnan(plan.instants.points[4, 5]).all()
    assert not plan.instants.visibility[4, :, 5].any()
    assert np.isfinite(plan.instants.points[3]).all()


def test_outliers_are_judged_frame_by_frame_without_what_is_missing() -> None:
    points = np.random.default_rng(2).normal(size=(4, 30, 3))
    points[1, 3] = 60
    points[2, :] = np.nan
    points[3, 5:] = np.nan
    assert np.argwhere(outliers(points)).tolist() == [[1, 3]]


def test_points_of_a_range_are_those_of_their_frames(made: Made) -> None:
    recording, session = made
    part = SpacePoints(session.points[5:9, None], 5, Path("points3d.h5"))
    points = _plan(replace(recording, points=part)).instants.points
    np.testing.assert_array_equal(points[5:9], session.points[5:9])
    assert np.isnan(np.delete(points, range(5, 9), 0)).all()
    assert np.isnan(_plan(recording, no_3d_data=True).instants.points).all()


def test_joints_are_matched_by_name_between_sessions(made: Made) -> None:
    recording, _ = made
    order = recording.joints[::-1]
    plan = plan_session(recording, PreprocessSpec(), order)
    np.testing.assert_array_equal(plan.instants.xy[:, :, ::-1], _plan(recording).instants.xy)
    np.testing.assert_array_equal(plan.instants.points[:, ::-1], _plan(recording).instants.points)
    with pytest.raises(ValueError, match=r"`walk` must be of the same joints.*paw_extra are in one"):
        plan_session(recording, PreprocessSpec(), (*recording.joints, "paw_extra"))
