"""What the dense matchers (RoMa and its kin) do around the rule "bilinear_relative"."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from refkp._checks import require_shape


def matcher_source_depth(depth: Tensor) -> Tensor:
    """Source depth as the dense matchers read it: bilinearly, at pixel centres in float32, zeros outside.

    In exact arithmetic this is the depth itself. The rounding of the centres mixes in a share of about 1e-6
    of the neighbours, so the result differs beside jumps and at the image border (some 1e-5 px of `uv`).
    `flow_gt` takes the pixel's own depth; pass it through here only to meet the matchers' numbers closer than
    that.

    Args:
        depth: [B,H,W] float.

    Returns:
        [B,H,W], dtype of `depth`.

    Source: spec pose 3.7.

    >>> matcher_source_depth(torch.tensor([[[2.0, 4.0]]])).tolist()
    [[[2.0, 4.0]]]
    """
    require_shape("matcher_source_depth", "depth", depth, "B,H,W")
    height, width = depth.shape[1:]
    x = torch.linspace(-1 + 1 / width, 1 - 1 / width, width, dtype=torch.float32, device=depth.device)
    y = torch.linspace(-1 + 1 / height, 1 - 1 / height, height, dtype=torch.float32, device=depth.device)
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).to(depth.dtype)
    grid = grid.expand(len(depth), height, width, 2)
    return functional.grid_sample(depth[:, None], grid, align_corners=False)[:, 0]
