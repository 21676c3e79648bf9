"""The arguments of `flow_gt` in two groups, as every backend takes them: what is seen, and how it is judged."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Scene(NamedTuple):
    """Depth images and their cameras, as in the public function."""

    depth_src: Tensor  # [B,H,W]
    K_src: Tensor  # [B,3,3]
    depth_dst: Tensor  # [B,S,Ht,Wt]
    K_dst: Tensor  # [B,S,3,3]
    dst_from_src: Tensor  # [B,S,4,4]
    mask_src: Tensor | None  # bool [B,H,W]
    mask_dst: Tensor | None  # bool [B,S,Ht,Wt]


class Judgement(NamedTuple):
    """The occlusion rule, its tolerances, and the pixel convention."""

    rule: str
    tol_abs: float
    tol_rel: float
    tol_px: float
    pixel_offset: float
