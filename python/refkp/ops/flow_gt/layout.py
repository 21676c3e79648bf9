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


def plane_strides(planes: Tensor | None) -> tuple[int, int]:
    """In elements, over B and S: of a source [B,H,W], which has no S, of a target [B,S,Ht,Wt]; 0 for a missing one."""
    if planes is None:
        return 0, 0
    return planes.stride(0), planes.stride(1) if planes.dim() == 4 else 0
