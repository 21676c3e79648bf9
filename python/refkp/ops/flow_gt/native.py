"""`flow_gt` in C++ for CPU tensors and CUDA C++ for CUDA tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from refkp import _native
from refkp.ops.flow_gt.checks import RULES
from refkp.ops.flow_gt.layout import contiguous_planes, plane_strides


def forward(
    depth_src: Tensor,
    K_src: Tensor,
    depth_dst: Tensor,
    K_dst: Tensor,
    dst_from_src: Tensor,
    mask_src: Tensor | None,
    mask_dst: Tensor | None,
    rule: str,
    tol_abs: float,
    tol_rel: float,
    tol_px: float,
    pixel_offset: float,
) -> tuple[Tensor, Tensor]:
    """uv [B,S,H,W,2] and flags [B,S,H,W]; arguments as in the public function, whose checks have passed."""
    (batch, height, width), (targets, height_dst, width_dst) = depth_src.shape, depth_dst.shape[1:]
    uv_dtype = torch.promote_types(depth_src.dtype, torch.float32)
    uv = depth_src.new_empty(batch, targets, height, width, 2, dtype=uv_dtype)
    flags = depth_src.new_empty(batch, targets, height, width, dtype=torch.uint8)
    # The problem keeps addresses only: these names keep the tensors alive until the kernel has been launched.
    depths = contiguous_planes(depth_src), contiguous_planes(depth_dst)
    masks = [None if mask is None else contiguous_planes(mask) for mask in (mask_src, mask_dst)]
    matrices = [matrix.to(torch.float64).contiguous() for matrix in (K_src, K_dst, dst_from_src)]
    problem = _native.extension().FlowProblem(
        images=[0 if image is None else image.data_ptr() for image in (*depths, *masks)],
        matrices=[matrix.data_ptr() for matrix in matrices],
        uv=uv.data_ptr(),
        flags=flags.data_ptr(),
        sizes=(batch, targets, height, width, height_dst, width_dst),
        depth_strides=plane_strides(*depths),
        mask_strides=plane_strides(*masks),
        rule=RULES.index(rule),
        tolerance=(tol_abs, tol_rel, tol_px),
        pixel_offset=pixel_offset,
    )
    _native.call("flow_gt", depth_src, problem=problem)
    return uv, flags
