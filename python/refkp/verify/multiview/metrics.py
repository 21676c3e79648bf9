"""Adapters of the metrics of points."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from refkp.systems.multiview.metrics.points import point_errors, share_correct, summarise
from refkp.verify.registry import adapter


@adapter("multiview", "metrics")
def _metrics(params: Mapping[str, Any], arrays: Mapping[str, Tensor], backend: str | None) -> dict[str, Any]:
    pixels, truth, has_3d = arrays["in_errors_px"], arrays["in_gt"], arrays["in_has_3d"]
    known = (truth != 0).any(-1) & has_3d[:, None]
    joints = point_errors(arrays["in_pred"], truth, known) / params["world_scale"]
    in_pictures, in_space = summarise(pixels), summarise(joints)
    return {
        "out_pck": share_correct(pixels, torch.tensor(params["thresholds"], dtype=torch.float64)),
        "out_pck_at_5": share_correct(pixels, torch.tensor([5.0], dtype=torch.float64))[0],
        "out_mean_px": in_pictures.mean,
        "out_median_px": in_pictures.median,
        "out_joint_errors_mm": joints[known],
        "out_mpjpe_mm": in_space.mean,
        "out_samples_3d": has_3d.sum(),
    }
