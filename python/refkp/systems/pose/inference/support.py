"""How much independent evidence speaks for a pose."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from refkp.systems.pose.inference.grid import PatchGrid
from refkp.systems.pose.inference.matches import Matches


class Support(NamedTuple):
    """The query patches that speak for a pose."""

    num_agreeing: int  # patches of which some template says what the pose says
    num_patches: int  # patches with matches
    area: float  # share of the mask that the agreeing patches cover, in [0,1]


def patch_support(matches: Matches, inliers: Tensor, mask: Tensor, grid: PatchGrid) -> Support:
    """Which query patches agree with a pose, and how much of the object they are.

    The pixels of a patch err together, and so do templates that resemble each other: what is independent is the
    query patch. It agrees if, for some template, most of its matches are inliers.

    Args:
        matches: of all kept templates, m of them.
        inliers: [m] bool, those that agree with the pose.
        mask: [H,W] bool, the object in the crop.
        grid: the patches of the crop.
    """
    key = matches.template * grid.num_patches + matches.query_patch
    pairs, pair = key.unique(return_inverse=True)
    count = torch.zeros(len(pairs)).index_add(0, pair, torch.ones(len(pair)))
    agreeing = torch.zeros(len(pairs)).index_add(0, pair, inliers.float()) > count / 2
    patch = pairs % grid.num_patches
    agree = torch.zeros(grid.num_patches, dtype=torch.bool)
    agree[patch[agreeing]] = True
    pixels = grid.sums(mask.double())
    area = float(pixels[agree].sum() / pixels.sum().clamp(min=1))
    return Support(int(agree.sum()), len(patch.unique()), area)
