"""Why there is no pose. A pose that cannot be supported is never made up: callers count these or tell the user."""

from __future__ import annotations

from typing import NamedTuple


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
)


def no_consensus(num_inliers: int, count: int) -> EstimateFailure:
    """The failure of matches that contradict each other."""
    text = f"the best pose agrees with {num_inliers} of {count} matches, which chance could do."
    return EstimateFailure("no_consensus", text)
