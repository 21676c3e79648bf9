"""From videos to motions with a model that tells the truth: worlds, gaps of nothing, pictures and their cameras."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

pytest.importorskip("cv2", reason="needs the extra `multiview`")
pytest.importorskip("h5py", reason="needs the extra `multiview`")
pytest.importorskip("transformers", reason="needs the extra `multiview`")

from refkp.geometry.cameras import project
from refkp.geometry.canonical_frame import canonical_frame
from refkp.systems.multiview.body.posing import BodyPose, JointsOnly
from refkp.systems.multiview.data.generator import MadeUpSession, generate_session
from refkp.systems.multiview.data.spec import SessionSpec
from refkp.systems.multiview.inference.filming import Filming, instants
from refkp.systems.multiview.inference.posing import pose_videos
from refkp.systems.multiview.model.network import Cameras, Estimate

SIZE = 64


class Recorded(NamedTuple):
    truth: MadeUpSession
    videos: dict[str, Path]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    folder = tmp_path_factory.mktemp("session") / "s"
    truth = generate_session(folder, SessionSpec(num_frames=5, size=(96, 128), num_views=3), 1)
    return Recorded(truth, {name: folder / name / f"{name}.avi" for name in truth.calibration.names})


class Truthful(torch.nn.Module):
    """Says what is true of each instant, in the frame of the first view; counts the instants it is asked of."""

    def __init__(self, truth: MadeUpSession) -> None:
        super().__init__()
        self.body, self.truth, self.asked = truth.body, truth, 0

    def forward(self, images: Tensor, mask: Tensor, cameras: Tensor, given: Cameras | None) -> Estimate:
        rows = slice(self.asked, self.asked + len(images))
        self.asked += len(images)
        rig, pose = self.truth.calibration.rig, self.truth.pose
        R, t = rig.R[0], 1e-3 * rig.t[0]
        rotations = pose.rotations[rows].clone()
        rotations[:, 0] = R @ rotations[:, 0]
        trans = 1e-3 * pose.trans[rows] @ R.mT + t
        own = canonical_frame(rig.R, 1e-3 * rig.t, torch.zeros(1, 3).double())
        cams = Cameras(*(part.expand(len(images), *part.shape) for part in (rig.K, own.R, own.t)))
        size = 1e-3 * pose.size[rows]
        return Estimate(
            BodyPose(rotations.float(), trans.float(), pose.betas[rows].float(), size=size.float()), cams, ()
        )


def filmed(recorded: Recorded, *, known: bool, batch: int = 2) -> list:
    calibration = recorded.truth.calibration if known else None
    shown = instants(
        recorded.videos, Filming(SIZE, "whole", True), calibration=calibration, metres=1e-3, batch=batch
    )
    return list(shown)


def test_pictures_belong_to_their_cameras(recorded: Recorded) -> None:
    """Joints through the cameras of the pictures are where the undistorted labels are, at the pictures' size."""
    parts = filmed(recorded, known=True)
    assert [len(part.frames) for part in parts] == [2, 2, 1]
    assert torch.cat([part.frames for part in parts]).tolist() == list(range(5))
    assert parts[0].images.shape == (2, 3, 3, SIZE, SIZE)
    cameras = parts[0].cameras
    assert cameras is not None
    points = torch.from_numpy(recorded.truth.points[0])
    uv = project(1e-3 * points, *(part.double() for part in cameras)).uv
    pinholes = recorded.truth.calibration.rig.pinholes().project(points).uv.transpose(0, 1)
    torch.testing.assert_close(uv, pinholes * torch.tensor([SIZE / 128, SIZE / 96]), rtol=0, atol=1e-3)
    raw = filmed(recorded, known=False)[0]
    assert raw.cameras is None
    assert float((raw.images.float() - parts[0].images.float()).abs().mean()) > 0.5  # the lens is still in


@pytest.mark.parametrize("smoothed", [False, True])
def test_with_cameras_the_motion_is_that_of_the_world(recorded: Recorded, smoothed: bool) -> None:
    posed = pose_videos(
        Truthful(recorded.truth), filmed(recorded, known=True), torch.arange(3), smoothed=smoothed
    )
    joints = JointsOnly(recorded.truth.body.to(dtype=torch.float64))
    motion = type(posed.motion)(posed.motion.frames, *(part.double() for part in posed.motion[1:]))
    off = (joints(motion.pose()) - 1e-3 * torch.from_numpy(recorded.truth.points)).norm(dim=-1)
    assert float(off.max()) < (5e-6 if not smoothed else 0.01)  # metres, of an animal of 0.12


def test_without_cameras_it_is_that_of_the_first_view(recorded: Recorded) -> None:
    posed = pose_videos(
        Truthful(recorded.truth), filmed(recorded, known=False), torch.arange(3), smoothed=False
    )
    rig = recorded.truth.calibration.rig
    want = 1e-3 * (recorded.truth.pose.trans @ rig.R[0].mT + rig.t[0])
    torch.testing.assert_close(posed.motion.trans, want, rtol=0, atol=1e-6)
    torch.testing.assert_close(posed.cameras.R[0].float(), torch.eye(3))


def test_what_cannot_be_filmed_is_told(recorded: Recorded) -> None:
    with pytest.raises(
        ValueError, match="'whole' or 'centred' for a model that is shown videos without labels"
    ):
        list(instants(recorded.videos, Filming(SIZE, "animal", True)))
    with pytest.raises(ValueError, match="a frame that can be decoded"):
        list(instants(recorded.videos, Filming(SIZE, "whole", True), frames=[99]))
    with pytest.raises(ValueError, match="at least one instant"):
        pose_videos(Truthful(recorded.truth), [], torch.arange(3))
