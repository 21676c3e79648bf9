"""From frames of 1280 x 1024 to stored pictures of 224 x 224: a view, and the samples of a session.

The output that is compared is how many bytes the pictures take; that they show the same is a test of its own.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

pytest.importorskip("cv2", reason="needs the extra `multiview`")
pytest.importorskip("h5py", reason="needs the extra `multiview`")
pytest.importorskip("PIL", reason="needs the extra `multiview`")
pytest.importorskip("sleap_io", reason="needs the extra `multiview`")

from bench.support import Compare, Row
from bench.test_bench_camera_warp import HEIGHT, LENSES, SIDE, WIDTH, cameras, picture
from refkp.data.images import decode_rgb
from refkp.peers.preprocessing import opencv_jpeg, opencv_jpegs
from refkp.systems.multiview.data.generator import generate_session
from refkp.systems.multiview.data.spec import SessionSpec
from refkp.systems.multiview.preprocessing.blocks import stored_picture
from refkp.systems.multiview.preprocessing.running import preprocess
from refkp.systems.multiview.preprocessing.spec import PreprocessSpec
from refkp.systems.multiview.reading import read_recording
from refkp.systems.multiview.store.reading import SampleStore

QUALITY, NUM_FRAMES, NUM_VIEWS = 95, 8, 3


def lengths(*files: bytes) -> Tensor:
    return torch.tensor([len(data) for data in files], dtype=torch.float32)


@pytest.mark.parametrize("lens", LENSES)
def test_bench_stored_picture(lens: str, compare: Compare) -> None:
    pixels = picture().numpy()
    K, distortion, affine = cameras(lens)
    compare(
        Row(
            op="multiview_preprocess",
            mode=f"a view, {lens} lens",
            shape=pixels.shape,
            dtype=torch.uint8,
            ours=lambda: lengths(stored_picture(pixels, (K, distortion), affine.numpy(), SIDE, QUALITY)),
            peers={
                "cv2 undistort, resize, imencode": lambda: lengths(
                    opencv_jpeg(pixels, K, distortion, SIDE, QUALITY)
                )
            },
            target=2.0,
            peer_tolerance=0.2,
        )
    )


def test_bench_samples(compare: Compare, tmp_path: Path) -> None:
    """Videos decoded, pictures made and stored; a sample is an instant of three views."""
    spec = SessionSpec(num_frames=NUM_FRAMES, num_views=NUM_VIEWS, size=(HEIGHT, WIDTH), missing=0.0)
    rig = generate_session(tmp_path / "session", spec).calibration.rig
    recording = read_recording(tmp_path / "session")
    wanted = PreprocessSpec(size=SIDE, jpeg_quality=QUALITY)
    out = tmp_path / "samples.h5"
    videos = [view.video for view in recording.views if view.video is not None]

    def ours() -> Tensor:
        out.unlink(missing_ok=True)
        with SampleStore(preprocess([recording], out, wanted).path) as store:
            return lengths(*(data for number in range(len(store)) for data in store.read(number).jpegs))

    def peer() -> Tensor:
        frames = opencv_jpegs(videos, rig.K, rig.distortion, SIDE, QUALITY)
        return lengths(*(data for frame in frames for data in frame))

    compare(
        Row(
            op="multiview_preprocess",
            mode=f"{NUM_FRAMES} samples of {NUM_VIEWS} views",
            shape=(NUM_FRAMES, NUM_VIEWS, HEIGHT, WIDTH, 3),
            dtype=torch.uint8,
            ours=ours,
            peers={"cv2 loop, pictures not stored": peer},
            target=1.0,
            peer_tolerance=0.2,
        )
    )


def test_pictures_show_the_same() -> None:
    pixels = picture().numpy()
    K, distortion, affine = cameras("typical")
    ours = stored_picture(pixels, (K, distortion), affine.numpy(), SIDE, QUALITY)
    theirs = opencv_jpeg(pixels, K, distortion, SIDE, QUALITY)
    off = decode_rgb(ours, "ours").float() - decode_rgb(theirs, "theirs").float()
    assert float(off[:, 8:-8, 8:-8].abs().mean()) < 4
