"""Adapters of preparing and augmenting views."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from refkp.systems.multiview.crops import (
    crop_box,
    crop_intrinsics,
    crop_points,
    pixels_from_yx,
    yx_from_pixels,
)
from refkp.systems.multiview.data.augmentation import place_points, zoom_affine
from refkp.systems.multiview.joints import map_joints
from refkp.verify.registry import adapter

#: What the original calls the crops that it does right.
_MODES = {"default": "whole", "centred": "centred"}


@adapter("multiview", "preprocess_geometry")
def _preprocess_geometry(
    params: Mapping[str, Any], arrays: Mapping[str, Tensor], backend: str | None
) -> dict[str, Any]:
    height, width = arrays["in_image_size_hw"].tolist()
    size = params["target_resolution"]
    box = crop_box(_MODES[params["mode"]], (width, height))
    affine = box.affine(size)
    keypoints = crop_points(affine, arrays["in_keypoints_xy"])
    shares = yx_from_pixels(keypoints, torch.tensor([size, size]))
    joints = map_joints(shares, arrays["in_visible"].to(shares.dtype), arrays["in_joint_map"])
    return {
        "out_keypoints_xy_new": keypoints,
        "out_K_new": crop_intrinsics(affine, arrays["in_K"]),
        "out_crop_offset_yx": torch.tensor([box.y0, box.x0]),
        "out_scale_yx": affine[:, :2].diagonal().flip(0),
        "out_keypoints_norm_yx": joints.points,
        "out_visibility": joints.visibility,
    }


@adapter("multiview", "augment_scale")
def _augment_scale(
    params: Mapping[str, Any], arrays: Mapping[str, Tensor], backend: str | None
) -> dict[str, Any]:
    size = arrays["in_image_size_hw"].flip(0)
    affine = zoom_affine(params["scale"], size)
    keypoints = pixels_from_yx(arrays["in_keypoints_norm_yx"], size)
    moved, visible = place_points(affine, keypoints, arrays["in_visible"], size)
    return {
        "out_K_new": crop_intrinsics(affine, arrays["in_K"]),
        "out_keypoints_norm_yx_new": yx_from_pixels(moved, size),
        "out_visible_new": visible,
    }
