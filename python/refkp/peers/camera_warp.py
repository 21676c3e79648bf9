"""camera_warp with OpenCV: undistort the whole picture, then shrink it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from refkp._extras import named_extras


def undistort_and_resize(pixels: Tensor, K: Tensor, distortion: Tensor, side: int) -> Tensor:
    """A picture [H,W,3] of bytes or float32, with K in edge coordinates, to [1,3,side,side]."""
    with named_extras():
        import cv2

    flat = cv2.undistort(pixels.numpy(), _centred(K), distortion.double().numpy())
    return _shrunk(flat, side)


def cached_remap_and_resize(pixels: Tensor, K: Tensor, distortion: Tensor, side: int) -> Callable[[], Tensor]:
    """The same with the maps made beforehand, as for a video; returns the step for one picture."""
    with named_extras():
        import cv2

    centred, size = _centred(K), (pixels.shape[1], pixels.shape[0])
    maps = cv2.initUndistortRectifyMap(
        centred, distortion.double().numpy(), np.eye(3), centred, size, cv2.CV_16SC2
    )
    return lambda: _shrunk(cv2.remap(pixels.numpy(), *maps, cv2.INTER_LINEAR), side)


def _centred(K: Tensor) -> np.ndarray:
    """K with pixel centres at whole numbers, as OpenCV counts."""
    shifted = K.double().numpy().copy()
    shifted[:2, 2] -= 0.5
    return shifted


def _shrunk(picture: np.ndarray, side: int) -> Tensor:
    with named_extras():
        import cv2

    small = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(small).permute(2, 0, 1)[None]
