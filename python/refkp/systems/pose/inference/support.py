"""Whether a pose agrees with more of a query than chance would: the test before any pose is given away."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from refkp.systems.pose.inference.matches import Matches

#: Query patches that a random pose agrees with because they made it: the size of EPnP's samples.
SAMPLE_SIZE = 5


class Support(NamedTuple):
    """The query patches that speak for a pose."""

    num_agreeing: int  # patches of which some template says what the pose says
    num_patches: int  # patches with matches
    chance: float  # expected number of poses, of all that are tried, which agree with as many by chance


def patch_support(
    matches: Matches, inliers: Tensor, *, area_px: float, threshold_px: float, num_tests: int
) -> Support:
    """How many query patches agree with a pose, and how many would by chance.

    The pixels of a patch err together, and so do templates that resemble each other: what is independent is the
    query patch. It agrees if, for some template, most of its matches are inliers. A wrong match lands anywhere
    on the object, within the threshold of a wrong pose with probability

        p = min(1, num_templates * pi threshold^2 / area),

    so of the n patches beyond the sample that made the pose, k or more agree with the binomial tail P(n, k),
    and num_tests * P(n, k) of the poses that are tried would show such support (as in a-contrario RANSAC).

    Args:
        matches: of all kept templates, m of them.
        inliers: [m] bool, those that agree with the pose.
        area_px: of the object in the query crop, pixels.
        threshold_px: of inliers.
        num_tests: poses that were tried.

    Source: Moisan and Stival, "A Probabilistic Criterion to Detect Rigid Point Matches", IJCV 2004.
    """
    if len(matches.template) == 0:
        return Support(0, 0, math.inf)
    key = matches.template * (int(matches.query_patch.max()) + 1) + matches.query_patch
    pairs, pair = key.unique(return_inverse=True)
    count = torch.zeros(len(pairs)).index_add(0, pair, torch.ones(len(pair)))
    agreeing = torch.zeros(len(pairs)).index_add(0, pair, inliers.float()) > count / 2
    patch = torch.zeros_like(pairs).scatter(0, pair, matches.query_patch)
    num_patches, num_agreeing = len(patch.unique()), len(patch[agreeing].unique())
    num_templates = len(matches.template.unique())
    hit = min(1.0, num_templates * math.pi * threshold_px**2 / area_px)
    tail = binomial_tail(num_patches - SAMPLE_SIZE, num_agreeing - SAMPLE_SIZE, hit)
    return Support(num_agreeing, num_patches, num_tests * tail)


def binomial_tail(trials: int, at_least: int, probability: float) -> float:
    """The probability of `at_least` successes or more in `trials`.

    >>> round(binomial_tail(4, 3, 0.5), 6)
    0.3125
    """
    if at_least <= 0:
        return 1.0
    if at_least > trials or probability <= 0:
        return 0.0
    if probability >= 1:
        return 1.0
    k = torch.arange(at_least, trials + 1, dtype=torch.float64)
    n = torch.tensor(float(trials), dtype=torch.float64)
    ways = torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
    return float((ways + k * math.log(probability) + (n - k) * math.log1p(-probability)).exp().sum())
