"""`flow_gt` in C++ for CPU tensors and CUDA C++ for CUDA tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from refkp import _native
from refkp.ops.flow_gt.arguments import Judgement, Scene
from refkp.ops.flow_gt.checks import RULES
from refkp.ops.flow_gt.layout import contiguous_planes, plane_strides


def forward(scene: Scene, judgement: Judgement) -> tuple[Tensor, Tensor]:
    """uv [B,S,H,W,2] and flags [B,S,H,W]; the checks of the public function have passed."""
    depth_src, depth_dst = scene.depth_src, scene.depth_dst
    (batch, height, width), (targets, height_dst, width_dst) = depth_src.shape, depth_dst.shape[1:]
    uv_dtype = torch.promote_types(depth_src.dtype, torch.float32)
    uv = depth_src.new_empty(batch, targets, height, width, 2, dtype=uv_dtype)
    flags = depth_src.new_empty(batch, targets, height, width, dtype=torch.uint8)
    # The problem keeps addresses only: these names keep the tensors alive until the kernel has been launched.
    depths = contiguous_planes(depth_src), contiguous_planes(depth_dst)
    masks = [None if mask is None else contiguous_planes(mask) for mask in (scene.mask_src, scene.mask_dst)]
    matrices = [
        matrix.to(torch.float64).contiguous() for matrix in (scene.K_src, scene.K_dst, scene.dst_from_src)
    ]
    problem = _native.extension().FlowProblem(
        images=[0 if image is None else image.data_ptr() for image in (*depths, *masks)],
        matrices=[matrix.data_ptr() for matrix in matrices],
        uv=uv.data_ptr(),
        flags=flags.data_ptr(),
        sizes=(batch, targets, height, width, height_dst, width_dst),
        depth_strides=plane_strides(*depths),
        mask_strides=plane_strides(*masks),
        rule=RULES.index(judgement.rule),
        tolerance=(judgement.tol_abs, judgement.tol_rel, judgement.tol_px),
        pixel_offset=judgement.pixel_offset,
    )
    _native.call("flow_gt", depth_src, problem=problem)
    return uv, flags
