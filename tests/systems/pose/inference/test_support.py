"""Support counts query patches, not pixels or templates, and the part of the object that they are."""

from __future__ import annotations

import torch

from refkp.systems.pose.inference.grid import PatchGrid
from refkp.systems.pose.inference.matches import Matches
from refkp.systems.pose.inference.support import Support, patch_support

GRID = PatchGrid(3, 4, 5)


def support(
    template: list[int], patch: list[int], inliers: list[bool], mask: torch.Tensor | None = None
) -> Support:
    count = len(template)
    uv = torch.zeros(count, 2)
    matches = Matches(
        torch.tensor(template, dtype=torch.int64),
        uv,
        uv,
        torch.ones(count),
        torch.ones(count),
        torch.tensor(patch, dtype=torch.int64),
    )
    mask = torch.ones(15, 20, dtype=torch.bool) if mask is None else mask
    return patch_support(matches, torch.tensor(inliers, dtype=torch.bool), mask, GRID)


def test_a_patch_counts_once_whatever_its_pixels_and_templates() -> None:
    found = support([0, 0, 0, 1, 1], [3, 3, 3, 3, 3], [True, True, False, True, True])
    assert found == (1, 1, 1 / 12)


def test_most_matches_of_one_template_must_agree() -> None:
    assert support([0, 0, 1, 1], [2, 2, 2, 2], [True, False, False, True]).num_agreeing == 0
    assert support([0, 0, 1, 1], [2, 2, 2, 2], [False, False, True, True]).num_agreeing == 1
    assert support([0, 0, 1, 1], [0, 1, 0, 2], [True, False, True, True])[:2] == (2, 3)


def test_the_area_is_that_of_the_mask_in_patches_that_agree() -> None:
    mask = torch.zeros(15, 20, dtype=torch.bool)
    mask[4:6, 3:12] = True  # rows 0 and 1 of patches, columns 0 to 2
    # Patch 0 holds 2 of the 18 pixels of the mask, patch 5 holds 5.
    assert support([0, 0], [0, 5], [True, True], mask).area == 7 / 18
    assert support([0, 0], [0, 5], [False, True], mask).area == 5 / 18
    assert support([0, 0], [11, 10], [True, True], mask).area == 0.0


def test_nothing_is_no_support() -> None:
    assert support([], [], []) == (0, 0, 0.0)
    assert support([0], [0], [True], torch.zeros(15, 20, dtype=torch.bool)) == (1, 1, 0.0)
