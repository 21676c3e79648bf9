"""Sums that do not depend on their order: gradients as integers, for kernels that add with atomics."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def gradient_scale(grad_out: Tensor) -> Tensor:
    """The factor for gradients of pictures [N,C,h,w] before they are rounded to int64; float64, on their device.

    A power of two, so that scaling is exact, and such that N*h*w times the largest gradient, the most that
    one pixel of the source can collect, stays below 2^62. NaN when a gradient is not finite. No value is read, so
    nothing waits for the device.
    """
    peak = grad_out.detach().abs().amax().to(torch.float64)
    headroom = 62 - math.ceil(math.log2(grad_out.numel() // grad_out.shape[1]))
    exponent = torch.frexp(peak.clamp(min=2.0**-200)).exponent
    scale = torch.ldexp(torch.ones_like(peak), headroom - exponent)
    return torch.where(torch.isfinite(peak), scale, float("nan"))
