"""How the kernels see image planes: contiguous inside, any stride between them (an expanded target is not copied)."""

from __future__ import annotations

from torch import Tensor


def contiguous_planes(tensor: Tensor | None) -> Tensor | None:
    """The tensor itself if its last two dimensions are contiguous, else a contiguous copy."""
    if tensor is None or (tensor.stride(-1) == 1 and tensor.stride(-2) == tensor.shape[-1]):
        return tensor
    return tensor.contiguous()


def plane_strides(
    depth_src: Tensor, depth_dst: Tensor, mask_src: Tensor | None, mask_dst: Tensor | None
) -> tuple[int, int, int, int, int, int]:
    """In elements: depth_src and mask_src over B, depth_dst over B and S, mask_dst over B and S; 0 without a mask."""
    src = (depth_src.stride(0), 0 if mask_src is None else mask_src.stride(0))
    dst = depth_dst.stride()[:2] + ((0, 0) if mask_dst is None else mask_dst.stride()[:2])
    return (*src, *dst)
