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
    (batch, height, width), targets = scene.depth_src.shape, scene.depth_dst.shape[1]
    uv_dtype = torch.promote_types(scene.depth_src.dtype, torch.float32)
    uv = scene.depth_src.new_empty(batch, targets, height, width, 2, dtype=uv_dtype)
    flags = scene.depth_src.new_empty(batch, targets, height, width, dtype=torch.uint8)
    laid_out = _laid_out(scene)  # named, since the problem holds addresses only
    problem = _native.extension().FlowProblem(
        src=_images(laid_out.depth_src, laid_out.mask_src, laid_out.K_src),
        dst=_images(laid_out.depth_dst, laid_out.mask_dst, laid_out.K_dst),
        dst_from_src=laid_out.dst_from_src.data_ptr(),
        batch=batch,
        targets=targets,
        rule=RULES.index(judgement.rule),
        tol_abs=judgement.tol_abs,
        tol_rel=judgement.tol_rel,
        tol_px=judgement.tol_px,
        pixel_offset=judgement.pixel_offset,
    )
    _native.call("flow_gt", scene.depth_src, problem=problem, uv=uv.data_ptr(), flags=flags.data_ptr())
    return uv, flags


def _laid_out(scene: Scene) -> Scene:
    """The scene as the kernels read it: contiguous planes, contiguous matrices in float64."""

    def planes(images: Tensor | None) -> Tensor | None:
        return None if images is None else contiguous_planes(images)

    def matrices(given: Tensor) -> Tensor:
        return given.to(torch.float64).contiguous()

    return Scene(
        depth_src=contiguous_planes(scene.depth_src),
        K_src=matrices(scene.K_src),
        depth_dst=contiguous_planes(scene.depth_dst),
        K_dst=matrices(scene.K_dst),
        dst_from_src=matrices(scene.dst_from_src),
        mask_src=planes(scene.mask_src),
        mask_dst=planes(scene.mask_dst),
    )


def _images(depth: Tensor, mask: Tensor | None, K: Tensor) -> object:
    return _native.extension().FlowImages(
        depth=depth.data_ptr(),
        mask=0 if mask is None else mask.data_ptr(),
        K=K.data_ptr(),
        height=depth.shape[-2],
        width=depth.shape[-1],
        depth_strides=plane_strides(depth),
        mask_strides=plane_strides(mask),
    )
