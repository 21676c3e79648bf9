"""How probable it is that a pose is right, from the evidence for it, and how far off it is then.

The constants are measured, by `scripts/calibrate_poses.py`, on poses of made-up objects by small trained models.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from refkp.systems.pose.inference.outline import Outline
from refkp.systems.pose.inference.support import Support

#: What counts as right: a rotation error, under the object's symmetries, of at most this.
RIGHT_DEG = 20.0

#: Shares count as neither 0 nor 1, which have no logit.
_EDGE = 0.02


class Features(NamedTuple):
    """What the probability is made of."""

    patches: float  # log(1 + patches that agree): independent pieces of evidence
    agreement: float  # logit of the share of the matched patches that agree
    area: float  # logit of the share of the mask that they cover
    inside: float  # logit of the share of the mask that the object covers
    filled: float  # logit of the share of the object that the mask covers


class Calibration(NamedTuple):
    """Logistic regression of "right" on the features."""

    bias: float
    weights: Features


CALIBRATION = Calibration(-6.83, Features(0.432, 1.332, 1.062, 1.642, 0.698))

#: Errors of right poses over their sigmas by patches: patches side by side err together too.
SIGMA_SCALE = 1.9


def features(support: Support, outline: Outline) -> Features:
    """The features of a pose."""
    return Features(
        math.log1p(support.num_agreeing),
        _logit(support.num_agreeing / max(support.num_patches, 1)),
        _logit(support.area),
        _logit(outline.inside),
        _logit(outline.filled),
    )


def confidence(support: Support, outline: Outline, calibration: Calibration = CALIBRATION) -> float:
    """The probability, in (0,1), that the rotation of a pose is off by `RIGHT_DEG` at most."""
    pairs = zip(calibration.weights, features(support, outline), strict=True)
    odds = calibration.bias + sum(weight * value for weight, value in pairs)
    return 1 / (1 + math.exp(-odds))


def _logit(share: float) -> float:
    return math.log((share + _EDGE) / (1 - share + _EDGE))
