"""Ground truth of dense correspondence with occlusion between depth images, and its patch forms."""

from __future__ import annotations

from torch import Tensor

from refkp._checks import number, refuse_tangents
from refkp.ops._backends import choose_backend
from refkp.ops.flow_gt import library, reference
from refkp.ops.flow_gt.arguments import Judgement, Scene
from refkp.ops.flow_gt.checks import check_options, check_tensors
from refkp.ops.flow_gt.matchers import matcher_source_depth
from refkp.ops.flow_gt.patches import (
    PairFlow,
    gather_pairs,
    patch_centres,
    patch_grid,
    patch_labels,
    to_dense,
)
from refkp.ops.flow_gt.poses import relative_pose
from refkp.ops.flow_gt.result import FlowGT

__all__ = [
    "FlowGT",
    "PairFlow",
    "flow_gt",
    "gather_pairs",
    "matcher_source_depth",
    "patch_centres",
    "patch_grid",
    "patch_labels",
    "relative_pose",
    "to_dense",
]


def flow_gt(
    depth_src: Tensor,
    K_src: Tensor,
    depth_dst: Tensor,
    K_dst: Tensor,
    dst_from_src: Tensor,
    *,
    mask_src: Tensor | None = None,
    mask_dst: Tensor | None = None,
    rule: str = "quad",
    tol_abs: float = 0.5,
    tol_rel: float = 0.0,
    tol_px: float = 2.0,
    pixel_offset: float = 0.5,
    backend: str | None = None,
) -> FlowGT:
    """Where every source pixel lands in each of S target images, and whether the target camera sees it there.

    Pixel (row i, column j) has the image point (x, y) = (j + o, i + o) with o = `pixel_offset`, and

        X = z K_src^-1 (x, y, 1),   (U, V, Z) = K_dst (dst_from_src X),   (u, v) = (U / Z, V / Z).

    Bits of `flags`, each set only where the earlier ones down to bit 2 are: 0 the source depth is valid
    (finite, > 0, on `mask_src`); 1 in front, Z > 1e-6; 2 inside the target image,
    -0.5 + o <= u < Wt - 0.5 + o and the same for v; 3 the target depth near the point is valid and the
    landing pixel, row floor(v - o + 0.5) and column floor(u - o + 0.5), is on `mask_dst`; 4 not occluded.
    With D the target depth and tol(d) = tol_abs + (tol_rel + tol_px / fx_dst) d:

    * "nearest": D at the landing pixel; not occluded if Z - D <= tol(Z). A point in front of the surface
      counts.
    * "nearest_twosided": the same with |Z - D| <= tol(Z).
    * "quad": any of the four pixels around (u, v) has |Z - D| <= tol(Z). Handles slopes and silhouettes.
    * "bilinear_relative": the rule of the dense matchers. D is bilinear with invalid or outside pixels as 0,
      and |Z - D| < tol(D); (u, v) divides by Z + 1e-4; inside is 0 < u - o + 0.5 < Wt - 1. Their threshold of
      5 % is `tol_abs=0, tol_rel=0.05, tol_px=0`.

    Cameras have OpenCV axes (x right, y down, z forward). Depth is along z, never along the ray.

    Args:
        depth_src: [B,H,W] float; float32 or float64 on CPU, float32, float16 or bfloat16 on CUDA. Integer
            depth is the caller's to convert, e.g. `depth.float() * depth_scale`.
        K_src: [B,3,3] float32 or float64, [[fx,skew,cx],[0,fy,cy],[0,0,1]] in pixels, fx, fy > 0. Pass
            matrices in float64: they are folded in float64 whatever the dtype of the depth.
        depth_dst: [B,S,Ht,Wt], dtype of `depth_src`, in units of the target.
        K_dst: [B,S,3,3], as `K_src`.
        dst_from_src: [B,S,4,4], rotation and translation, or with a unit scale on the rotation block (target
            units per source unit). Tolerances are in target units.
        mask_src: [B,H,W] bool or None, pixels that take part.
        mask_dst: [B,S,Ht,Wt] bool or None, pixels that may be landed on.
        rule: the occlusion test, see above.
        tol_abs, tol_rel, tol_px: tolerance, see above; >= 0. `tol_px` counts pixel footprints.
        pixel_offset: 0.5 (centres at half, the default of this package) or 0 (centres on the integers).
        backend: "reference", "native", "triton" or None for the fastest that can.

    Returns:
        FlowGT: `uv` [B,S,H,W,2] in target pixels, in the dtype of the depth (float32 for half), free of NaN,
        0 unless bits 0 and 1 are set; `flags` uint8 [B,S,H,W]; `visible` is all five bits. It is a pure map:
        repeated calls are bitwise equal. Backends may differ where a decision flips within about 1e-3 px or
        1e-5 of depth.

    Raises:
        ValueError: wrong shapes, dtypes, devices or options, an image without pixels or with 2^31 or more; on
            CPU also matrices that are not finite, not invertible or not of the form above. On CUDA matrices
            are not read, since that would stall the stream: a pair with NaN in its matrices gets bit 0 only.
        NotImplementedError: a backend by name that cannot run the call, or an input with a tangent.

    No input gets a gradient: the outputs are constants. An input that requires one, or carries a tangent, is an
    error (detach it).

    Source: spec pose 3.1, 3.2, 3.7.

    >>> import torch
    >>> depth = torch.full((1, 2, 3), 4.0)
    >>> K = torch.tensor([[[2.0, 0.0, 1.5], [0.0, 2.0, 1.0], [0.0, 0.0, 1.0]]])
    >>> shift = torch.eye(4)[None, None].clone()
    >>> shift[..., 0, 3] = 2.0  # the camera moves left by one pixel of this depth: 2 * 2 / 4
    >>> gt = flow_gt(depth, K, depth[:, None], K[:, None], shift, backend="reference")
    >>> gt.uv[0, 0, 0].tolist()
    [[1.5, 0.5], [2.5, 0.5], [3.5, 0.5]]
    >>> gt.visible[0, 0, 0].tolist()
    [True, True, False]
    """
    scene = Scene(depth_src, K_src, depth_dst, K_dst, dst_from_src, mask_src, mask_dst)
    numbers = {"tol_abs": tol_abs, "tol_rel": tol_rel, "tol_px": tol_px, "pixel_offset": pixel_offset}
    judgement = Judgement(rule, **{name: number("flow_gt", name, value) for name, value in numbers.items()})
    check_tensors(scene)
    check_options(judgement)
    refuse_tangents("flow_gt", "The result is constant: detach the input.", **scene._asdict())
    chosen = choose_backend("flow_gt", backend, depth_src.device, depth_src.dtype)
    if chosen == "reference":
        uv, flags = reference.flow_gt(scene, judgement)
    else:
        uv, flags = library.flow_gt(*scene, *judgement, chosen)
    height, width = depth_dst.shape[-2:]
    return FlowGT(uv, flags, (height, width), judgement.pixel_offset)
