"""The torch operator refkp::flow_gt. It has no gradient: the result is ground truth."""

from __future__ import annotations

import torch
from torch import Tensor

from refkp.ops._backends import kernels
from refkp.ops.flow_gt.arguments import Judgement, Scene
from refkp.ops.flow_gt.checks import check_matrices


@torch.library.custom_op("refkp::flow_gt", mutates_args=())
def flow_gt(
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
    backend: str,
) -> tuple[Tensor, Tensor]:
    """uv [B,S,H,W,2] and flags [B,S,H,W] by the backend "native" or "triton"."""
    check_matrices(K_src, K_dst, dst_from_src)
    scene = Scene(depth_src, K_src, depth_dst, K_dst, dst_from_src, mask_src, mask_dst)
    judgement = Judgement(rule, tol_abs, tol_rel, tol_px, pixel_offset)
    with torch.cuda.device_of(depth_src):  # Triton launches on the current device
        return kernels("flow_gt", backend).forward(scene, judgement)


@flow_gt.register_fake
def _(depth_src: Tensor, K_src: Tensor, depth_dst: Tensor, *rest: object) -> tuple[Tensor, Tensor]:
    (batch, height, width), targets = depth_src.shape, depth_dst.shape[1]
    uv_dtype = torch.promote_types(depth_src.dtype, torch.float32)
    uv = depth_src.new_empty(batch, targets, height, width, 2, dtype=uv_dtype)
    return uv, depth_src.new_empty(batch, targets, height, width, dtype=torch.uint8)
