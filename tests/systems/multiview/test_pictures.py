"""Figures of bodies: joints are drawn where the cameras see them, labels where they were given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("matplotlib", reason="needs the extra `viz`")
pytest.importorskip("cv2", reason="needs the extra `multiview`")
pytest.importorskip("PIL", reason="needs the extra `multiview`")
pytest.importorskip("h5py", reason="needs the extra `multiview`")
pytest.importorskip("embreex", reason="needs the extra `multiview`")
pytest.importorskip("trimesh", reason="needs the extra `multiview`")
pytest.importorskip("transformers", reason="needs the extra `multiview`")

from matplotlib.figure import Figure

from refkp.systems.multiview.body.joint_table import joint_map
from refkp.systems.multiview.body.motion import BodyMotion
from refkp.systems.multiview.body.posing import JointsOnly
from refkp.systems.multiview.data.generator import generate_session
from refkp.systems.multiview.data.spec import SessionSpec
from refkp.systems.multiview.fitting.fit import fit_body
from refkp.systems.multiview.model.network import Cameras
from refkp.systems.multiview.pictures.bodies import fit_figures, posed_figures
from refkp.systems.multiview.pictures.samples import pck_figure
from refkp.systems.multiview.reading import read_recording


def drawn(figure: Figure, view: int, layer: int) -> np.ndarray:
    """The points [n,2] of a layer of a view: 0 for labels, 1 for joints."""
    return np.asarray(figure.axes[view].collections[1 + layer].get_offsets())


def test_a_fitted_body_over_its_views(tmp_path: Path) -> None:
    spec = SessionSpec(num_frames=8, num_views=3, size=(120, 160), noise_px=0.3)
    truth = generate_session(tmp_path / "session", spec)
    recording = read_recording(tmp_path / "session")
    found = fit_body(recording, truth.body, joint_map(truth.body.joint_names, recording.joints))
    figures = fit_figures(recording, found, truth.body)
    assert set(figures) == {"body", "turntable", "errors", "space"}
    best = int(torch.isfinite(found.uv).all(-1).sum((1, 2)).argmax())
    want = truth.calibration.rig.project(torch.from_numpy(truth.points[best])).uv.transpose(0, 1)
    for view in range(3):
        joints = drawn(figures["body"], view, 1)
        assert np.median(np.linalg.norm(joints - want[view].numpy(), axis=-1)) < 1
        labels = drawn(figures["body"], view, 0)
        np.testing.assert_allclose(labels, truth.labels[best, view], atol=1e-6)
        assert len(figures["body"].axes[view].images) == 1
    assert len(figures["turntable"].axes) == 6


def test_the_last_frame_of_a_motion_over_its_views(tmp_path: Path) -> None:
    spec = SessionSpec(num_frames=5, num_views=2, size=(64, 64), with_videos=False)
    truth = generate_session(tmp_path / "session", spec)
    body, pose, rig = truth.body, truth.pose, truth.calibration.rig.pinholes()
    assert pose.betas is not None
    assert pose.size is not None
    still = torch.zeros(body.num_joints, 3)
    motion = BodyMotion(torch.arange(5), pose.rotations, pose.trans, pose.betas[0], still, pose.size[0, 0])
    images = torch.full((2, 3, 64, 64), 90, dtype=torch.uint8)
    figures = posed_figures(body, motion, images, Cameras(rig.K, rig.R, rig.t), ("left", "right"))
    points = JointsOnly(body.to(dtype=torch.float64))(motion.pose().each(torch.Tensor.double))[-1]
    want = rig.project(points).uv.transpose(0, 1).numpy()
    for view in range(2):
        np.testing.assert_allclose(drawn(figures["body"], view, 1), want[view], atol=0.05)
        assert "frame 4" in figures["body"].axes[view].get_title()
    turned = [np.asarray(axis.images[0].get_array()) for axis in figures["turntable"].axes]
    assert all((picture < 250).any() for picture in turned)
    assert not np.array_equal(turned[0], turned[3])


def test_shares_of_joints_at_both_sizes() -> None:
    figure = pck_figure({"model": ([0.1] * 8, [0.2] * 8)})
    lines = [axis.lines[0].get_ydata() for axis in figure.axes]
    assert [float(np.asarray(line)[0]) for line in lines] == [0.1, 0.2]
