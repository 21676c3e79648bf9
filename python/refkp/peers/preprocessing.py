"""Pictures of a recording made small with OpenCV: undistort, resize, encode, one after another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from refkp._extras import named_extras
from refkp.peers.camera_warp import undistort_and_resize


def opencv_jpeg(pixels: np.ndarray, K: Tensor, distortion: Tensor, side: int, quality: int) -> bytes:
    """A picture [H,W,3] of bytes, RGB, with K in edge coordinates, as a JPEG file of side x side."""
    with named_extras():
        import cv2
    small = undistort_and_resize(torch.from_numpy(pixels), K, distortion, side)[0].permute(1, 2, 0).numpy()
    _, data = cv2.imencode(
        ".jpg", np.ascontiguousarray(small[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    return data.tobytes()


def opencv_jpegs(
    videos: Sequence[Path], K: Tensor, distortion: Tensor, side: int, quality: int
) -> Iterator[list[bytes]]:
    """The same of every frame of synchronised videos, with K [V,3,3] and distortion [V,5]: V files a frame."""
    with named_extras():
        import cv2
    captures = [cv2.VideoCapture(str(path)) for path in videos]
    while True:
        frames = [capture.read() for capture in captures]
        if not all(there for there, _ in frames):
            break
        yield [
            opencv_jpeg(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), K[view], distortion[view], side, quality)
            for view, (_, frame) in enumerate(frames)
        ]
    for capture in captures:
        capture.release()
