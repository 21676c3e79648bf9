"""Adapters of the pose metrics."""

from __future__ import annotations

import torch
from torch import Tensor

from refkp.systems.pose.metrics.errors import mspd, mssd
from refkp.systems.pose.metrics.recall import mspd_thresholds, mssd_thresholds, recall
from refkp.verify.registry import Arrays, Params, Values, adapter


@adapter("pose", "bop_metrics")
def bop_metrics(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """MSSD and MSPD of every pose pair, and their recalls over the challenge's thresholds."""
    estimate = _rigid(arrays["R_est"], arrays["t_est"])
    truth = _rigid(arrays["R_gt"], arrays["t_gt"])
    symmetries = _rigid(arrays["sym_R"], arrays["sym_t"])
    surface = mssd(estimate, truth, arrays["points"], symmetries)
    projection = mspd(estimate, truth, arrays["K"], arrays["points"], symmetries)
    recall_mssd = recall(surface, mssd_thresholds(float(arrays["diameter"])))
    recall_mspd = recall(projection, mspd_thresholds(params["image_width"]))
    return {
        "mssd": surface,
        "mspd": projection,
        "recall_mssd": recall_mssd,
        "recall_mspd": recall_mspd,
        "ar_mssd": recall_mssd.mean(),
        "ar_mspd": recall_mspd.mean(),
    }


def _rigid(R: Tensor, t: Tensor) -> Tensor:
    """[n,3,3] and [n,3] as [n,4,4]."""
    bottom = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=R.dtype).expand(len(R), 1, 4)
    return torch.cat((torch.cat((R, t[..., None]), -1), bottom), 1)
