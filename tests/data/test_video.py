"""Frames by number are the frames that reading from the start reaches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cv2", reason="needs the extra `multiview`")

import cv2

from refkp.data.video import Video

SIZE = (64, 48)


def shade(number: int) -> int:
    return 20 + 5 * (number % 40)


def write(path: Path, num_frames: int, codec: str) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 25.0, SIZE)
    for number in range(num_frames):
        picture = np.full((SIZE[1], SIZE[0], 3), shade(number), np.uint8)
        picture[:, :, 0] = 0  # blue, for OpenCV writes it first
        writer.write(picture)
    writer.release()
    return path


@pytest.mark.parametrize(("name", "codec"), [("a.avi", "MJPG"), ("a.mp4", "mp4v")])
def test_frames_in_any_order(name: str, codec: str, tmp_path: Path) -> None:
    with Video(write(tmp_path / name, 60, codec)) as video:
        assert (video.size, video.num_frames, video.fps) == (SIZE, 60, 25.0)
        for number in (0, 3, 3, 40, 41, 2, 59, 30, 0):
            picture = video.frame(number)
            assert picture.shape == (48, 64, 3)
            assert abs(float(picture[..., 0].mean()) - shade(number)) < 2.5, number
            assert float(picture[..., 2].mean()) < 12  # blue is last


def test_a_frame_that_is_not_there(tmp_path: Path) -> None:
    with Video(write(tmp_path / "a.avi", 5, "MJPG")) as video:
        for number in (5, 500):
            with pytest.raises(ValueError, match="a frame that can be decoded of the 5 of"):
                video.frame(number)
        with pytest.raises(ValueError, match="at least 0"):
            video.frame(-1)
        assert video.frame(4) is not None


@pytest.mark.parametrize("content", [b"", b"no video", None])
def test_what_is_no_video(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    if content is None:
        write(path, 0, "mp4v")
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a video with frames; got none"):
        Video(path)
    with pytest.raises(FileNotFoundError, match=r"there is no file"):
        Video(tmp_path / "b.mp4")
