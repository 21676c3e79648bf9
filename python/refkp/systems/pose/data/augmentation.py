"""Random changes to the colours of a query; masks, depth and cameras stay. Source: spec pose 5."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from refkp._checks import fail

_GREY = (0.299, 0.587, 0.114)  # of red, green, blue
_SMOOTH = torch.tensor([[1.0, 1.0, 1.0], [1.0, 5.0, 1.0], [1.0, 1.0, 1.0]]) / 13


@dataclass(frozen=True)
class Change:
    """One kind of change: how often it happens, and between what limits its strength is drawn."""

    probability: float
    low: float
    high: float


@dataclass(frozen=True)
class QueryAugmentation:
    """How query pictures are changed.

    `probability` is that of any change at all; each kind then happens by its own. Blur has a standard
    deviation in pixels. The others are factors f of the blend `degraded + f (picture - degraded)`, where
    degraded is smoothed (sharpness), evenly grey (contrast), black (brightness) or without colour (colour);
    1 changes nothing.
    """

    probability: float = 0.8
    blur: Change = Change(0.4, 1.0, 3.0)
    sharpness: Change = Change(0.3, 0.0, 50.0)
    contrast: Change = Change(0.3, 0.2, 50.0)
    brightness: Change = Change(0.5, 0.1, 6.0)
    colour: Change = Change(0.3, 0.0, 20.0)

    def __post_init__(self) -> None:
        for name in ("blur", "sharpness", "contrast", "brightness", "colour"):
            change = getattr(self, name)
            if not (0 <= change.probability <= 1 and 0 <= change.low <= change.high):
                fail("QueryAugmentation", name, "a probability in [0,1] and 0 <= low <= high", change)
        if not 0 <= self.probability <= 1:
            fail("QueryAugmentation", "probability", "in [0,1]", self.probability)


def augment_query(picture: Tensor, spec: QueryAugmentation, generator: torch.Generator) -> Tensor:
    """A picture float [3,H,W] in [0,1], changed at random; the result is in [0,1] too."""
    if float(torch.rand((), generator=generator)) >= spec.probability:
        return picture
    for name, function in _CHANGES.items():
        change: Change = getattr(spec, name)
        happens, place = torch.rand(2, generator=generator).tolist()
        if happens < change.probability:
            picture = function(picture, change.low + place * (change.high - change.low)).clamp(0, 1)
    return picture


def blur(picture: Tensor, sigma: float) -> Tensor:
    """Gaussian blur; at the border the edge pixels go on."""
    radius = max(1, round(3 * sigma))
    offsets = torch.arange(-radius, radius + 1, dtype=picture.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(3, 1, 1, -1)
    padded = F.pad(picture[None], (radius, radius, radius, radius), mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel, groups=3), kernel.mT, groups=3)[0]


def sharpness(picture: Tensor, factor: float) -> Tensor:
    """Blend with the picture smoothed over 3 x 3 pixels."""
    padded = F.pad(picture[None], (1, 1, 1, 1), mode="replicate")
    smooth = F.conv2d(padded, _SMOOTH.to(picture).expand(3, 1, 3, 3), groups=3)[0]
    return torch.lerp(smooth, picture, factor)


def contrast(picture: Tensor, factor: float) -> Tensor:
    """Blend with the mean grey of the picture."""
    return torch.lerp(_grey(picture).mean().expand_as(picture), picture, factor)


def brightness(picture: Tensor, factor: float) -> Tensor:
    """Blend with black."""
    return picture * factor


def colour(picture: Tensor, factor: float) -> Tensor:
    """Blend with the grey picture."""
    return torch.lerp(_grey(picture).expand_as(picture), picture, factor)


def _grey(picture: Tensor) -> Tensor:
    """Luminance [1,H,W]."""
    return torch.einsum("c,chw->hw", picture.new_tensor(_GREY), picture)[None]


_CHANGES = {
    "blur": blur,
    "sharpness": sharpness,
    "contrast": contrast,
    "brightness": brightness,
    "colour": colour,
}
