"""Pixel values: bytes to [0,1], and the statistics that an encoder was trained with.

Views are in [0,1] everywhere; `normalise` is the one place where that ends. Source: spec panorama 2.6, pose 1.1.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from refkp._checks import fail, require_trailing

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class PixelStatistics:
    """Mean and standard deviation per channel of pixels in [0,1]."""

    mean: Triple
    std: Triple

    def __post_init__(self) -> None:
        if len(self.mean) != 3 or len(self.std) != 3:
            fail("PixelStatistics", "mean, std", "three numbers each", (self.mean, self.std))
        if min(self.std) <= 0:
            fail("PixelStatistics", "std", "positive", self.std)

    @classmethod
    def named(cls, name: str) -> PixelStatistics:
        """The statistics "imagenet", "clip" or "siglip"; any other name is an error, never a guess."""
        if name not in STATISTICS:
            remedy = "Take the mean and std of your encoder's preprocessor: PixelStatistics(mean, std)."
            fail("PixelStatistics.named", "name", f"one of {', '.join(STATISTICS)}", repr(name), remedy)
        return STATISTICS[name]


IMAGENET = PixelStatistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = PixelStatistics((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
SIGLIP = PixelStatistics((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

STATISTICS = {"imagenet": IMAGENET, "clip": CLIP, "siglip": SIGLIP}


def normalise(pixels: Tensor, statistics: PixelStatistics) -> Tensor:
    """(pixels - mean) / std per channel.

    Args:
        pixels: [...,3,h,w] floating, in [0,1].
        statistics: of the encoder that will read them.

    Returns:
        The dtype and shape of `pixels`; gradients reach them.

    >>> normalise(torch.ones(3, 1, 1), SIGLIP).flatten().tolist()
    [1.0, 1.0, 1.0]
    """
    require_trailing("normalise", "pixels", pixels, "3,h,w")
    if not pixels.is_floating_point():
        fail("normalise", "pixels", "floating, in [0,1]", pixels.dtype, "Divide bytes by 255.")
    scale, shift = _scale_and_shift(statistics, pixels.device, pixels.dtype)
    return torch.addcmul(shift, pixels, scale)  # one pass over the pixels


@functools.lru_cache(maxsize=32)
def _scale_and_shift(
    statistics: PixelStatistics, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """1 / std and -mean / std [3,1,1], copied to a device once."""
    with torch.inference_mode(False):  # made in validation, they also serve training
        mean, std = (
            torch.tensor(row, dtype=torch.float64)[:, None, None] for row in (statistics.mean, statistics.std)
        )
        return (1 / std).to(device, dtype), (-mean / std).to(device, dtype)


def unit_range(pixels: Tensor) -> Tensor:
    """Bytes in [0,255], or floating pixels in [0,1], as float32 in [0,1]."""
    return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.float()
