"""Support counts query patches, not pixels, and chance is what random matches show."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from refkp.systems.pose.inference.matches import Matches
from refkp.systems.pose.inference.support import Support, binomial_tail, patch_support


def support(template: list[int], patch: list[int], inliers: list[bool], area_px: float = 10000.0) -> Support:
    count = len(template)
    uv = torch.zeros(count, 2)
    matches = Matches(
        torch.tensor(template), uv, uv, torch.ones(count), torch.ones(count), torch.tensor(patch)
    )
    return patch_support(matches, torch.tensor(inliers), area_px=area_px, threshold_px=5.0, num_tests=1000)


def test_a_patch_counts_once_whatever_its_pixels_and_templates() -> None:
    found = support([0, 0, 0, 1, 1], [3, 3, 3, 3, 3], [True, True, False, True, True])
    assert found[:2] == (1, 1)


def test_most_matches_of_one_template_must_agree() -> None:
    assert support([0, 0, 1, 1], [2, 2, 2, 2], [True, False, False, True]).num_agreeing == 0
    assert support([0, 0, 1, 1], [2, 2, 2, 2], [False, False, True, True]).num_agreeing == 1
    assert support([0, 0, 1, 1], [0, 1, 0, 2], [True, False, True, True])[:2] == (2, 3)


def test_chance_by_hand() -> None:
    hit = math.pi * 25 / 10000
    found = support([0] * 7, list(range(7)), [True] * 7)
    assert found.chance == pytest.approx(1000 * hit**2)
    two = support([0, 1] * 7, [patch for patch in range(7) for _ in range(2)], [True] * 14)
    assert two.chance == pytest.approx(1000 * (2 * hit) ** 2)
    assert support([0] * 5, list(range(5)), [True] * 5).chance == 1000  # any five matches have a pose


def test_nothing_is_no_support() -> None:
    empty = torch.empty(0, dtype=torch.int64)
    nothing = Matches(empty, torch.empty(0, 2), torch.empty(0, 2), torch.empty(0), torch.empty(0), empty)
    found = patch_support(nothing, empty.bool(), area_px=100.0, threshold_px=5.0, num_tests=10)
    assert found == Support(0, 0, math.inf)


@pytest.mark.parametrize("probability", [0.0, 0.03, 0.5, 1.0])
def test_binomial_tail_is_a_sum_of_binomials(probability: float) -> None:
    def exactly(k: int) -> float:
        return math.comb(12, k) * probability**k * (1 - probability) ** (12 - k)

    for at_least in range(-1, 15):
        want = sum(exactly(k) for k in range(max(at_least, 0), 13))
        assert binomial_tail(12, at_least, probability) == pytest.approx(want, rel=1e-9, abs=1e-15)


def test_the_tail_is_the_rate_of_random_patches() -> None:
    generator = torch.Generator().manual_seed(0)
    hits: Tensor = (torch.rand(20000, 40, generator=generator) < 0.1).sum(-1)
    assert binomial_tail(40, 8, 0.1) == pytest.approx(float((hits >= 8).double().mean()), rel=0.1)
