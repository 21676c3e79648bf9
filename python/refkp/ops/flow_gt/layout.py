"""How the kernels see image planes: contiguous inside, any stride between them.

So a target that is expanded over a batch is not copied.
"""

from __future__ import annotations

from torch import Tensor


def contiguous_planes(tensor: Tensor) -> Tensor:
    """The tensor itself if its last two dimensions are contiguous, else a contiguous copy."""
    if tensor.stride(-1) == 1 and tensor.stride(-2) == tensor.shape[-1]:
        return tensor
    return tensor.contiguous()


def plane_strides(src: Tensor | None, dst: Tensor | None) -> tuple[int, int, int]:
    """In elements: of a source [B,H,W] over B, of a target [B,S,Ht,Wt] over B and S; 0 for a missing one."""
    over_b, over_s = (0, 0) if dst is None else (dst.stride(0), dst.stride(1))
    return 0 if src is None else src.stride(0), over_b, over_s
