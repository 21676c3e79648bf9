"""Why there is no pose. A pose that cannot be supported is never made up: callers count these or tell the user."""

from __future__ import annotations

from typing import NamedTuple

from refkp.systems.pose.inference.outline import Outline
from refkp.systems.pose.inference.support import Support


class EstimateFailure(NamedTuple):
    """No pose, and why."""

    reason: str  # one of REASONS
    message: str  # what was found and what would help


#: What can be missing.
REASONS = (
    "empty_mask",  # no query patch lies on the object
    "too_few_matches",  # fewer than four matches with a 3D point
    "degenerate",  # the 3D points lie on a line or in a point
    "no_consensus",  # no pose agrees with enough of the matches
    "uncertain",  # the best pose is probably wrong
)

_REMEDY = (
    "Give a tighter mask, a larger view of the object, or a model that was trained on more objects like it"
)


def no_consensus(num_inliers: int, count: int) -> EstimateFailure:
    """The failure of matches that contradict each other."""
    text = f"at most {num_inliers} of {count} matches agree with any pose. {_REMEDY}."
    return EstimateFailure("no_consensus", text)


def uncertain(confidence: float, support: Support, outline: Outline) -> EstimateFailure:
    """The failure of a pose that is probably wrong."""
    text = (
        f"the best pose is right with a probability of {confidence:.2f} only: {support.num_agreeing} of "
        f"{support.num_patches} patches agree, on {support.area:.0%} of the mask; the object there would cover "
        f"{outline.inside:.0%} of the mask, and the mask {outline.filled:.0%} of the object. {_REMEDY}, or take "
        "poses of less confidence (`--estimator.min_confidence`; in Python `EstimatorSpec.min_confidence`)."
    )
    return EstimateFailure("uncertain", text)
