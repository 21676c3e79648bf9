"""What `flow_gt` asks of its arguments: shapes, dtypes, options (traceable); values of the matrices."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from refkp._checks import (
    fail,
    floating,
    require_choice,
    require_dtype,
    require_finite,
    require_same,
    require_shape,
    require_tensor,
    shape_text,
)
from refkp.ops.flow_gt.arguments import Judgement, Scene

RULES = ("nearest", "nearest_twosided", "quad", "bilinear_relative")
_MATRICES = (torch.float32, torch.float64)

#: Shape and dtypes of the tensors, in the order of `Scene`.
_TENSORS = {
    "depth_src": ("B,H,W", floating()),
    "K_src": ("B,3,3", _MATRICES),
    "depth_dst": ("B,S,Ht,Wt", floating()),
    "K_dst": ("B,S,3,3", _MATRICES),
    "dst_from_src": ("B,S,4,4", _MATRICES),
    "mask_src": ("B,H,W", (torch.bool,)),
    "mask_dst": ("B,S,Ht,Wt", (torch.bool,)),
}


def check_tensors(scene: Scene) -> None:
    """Raise unless shapes, dtypes and devices are those of the docstring and no input asks for a gradient."""
    sizes: dict[str, int] = {}
    for (name, (pattern, dtypes)), tensor in zip(_TENSORS.items(), scene, strict=True):
        if tensor is None:
            continue
        require_tensor("flow_gt", name, tensor)
        require_shape("flow_gt", name, tensor, pattern, **sizes)
        for letter, size in zip(pattern.split(","), tensor.shape, strict=True):
            if not letter.isdigit():
                sizes.setdefault(letter, size)
        _check_dtype(name, tensor, dtypes)
        require_same("flow_gt", name, tensor, "depth_src", scene.depth_src, dtype=name == "depth_dst")
        if tensor.requires_grad and torch.is_grad_enabled():
            fail(
                "flow_gt",
                name,
                "without gradient",
                "requires_grad=True",
                "The result is constant: detach the input.",
            )
    _check_sizes("depth_src", scene.depth_src)
    _check_sizes("depth_dst", scene.depth_dst)


def _check_dtype(name: str, tensor: Tensor, allowed: tuple[torch.dtype, ...]) -> None:
    if name.startswith("depth") and not tensor.is_floating_point():
        remedy = "Convert integer depth to a length first: depth.float() * depth_scale."
        fail("flow_gt", name, "of a floating dtype", str(tensor.dtype).removeprefix("torch."), remedy)
    require_dtype("flow_gt", name, tensor, allowed)


def _check_sizes(name: str, depth: Tensor) -> None:
    height, width = depth.shape[-2:]
    if height == 0 or width == 0:
        fail("flow_gt", name, "an image of at least one pixel", shape_text(depth.shape))
    if height * width >= 2**31:
        fail("flow_gt", name, "an image of fewer than 2^31 pixels", shape_text(depth.shape))


def check_options(judgement: Judgement) -> None:
    """Raise unless the rule is known, tolerances are finite and not negative, and the offset is 0 or 0.5."""
    require_choice("flow_gt", "rule", judgement.rule, RULES)
    for name in ("tol_abs", "tol_rel", "tol_px"):
        value = getattr(judgement, name)
        if not 0 <= value < float("inf"):
            fail("flow_gt", name, "finite and >= 0", value)
    require_choice("flow_gt", "pixel_offset", judgement.pixel_offset, (0, 0.5))


def check_matrices(K_src: Tensor, K_dst: Tensor, dst_from_src: Tensor) -> None:
    """Raise unless the intrinsics and poses are usable. Reads values, so it does nothing for CUDA tensors.

    In NumPy, whose calls on arrays this small take a quarter of the time of torch's.
    """
    if K_src.device.type != "cpu":
        return
    _check_intrinsics("K_src", K_src)
    _check_intrinsics("K_dst", K_dst)
    _check_similarity(dst_from_src)


def _check_intrinsics(name: str, K: Tensor) -> None:
    values = _finite_values(name, K)
    form = "[[fx,skew,cx],[0,fy,cy],[0,0,1]]"
    fixed = values[:, [3, 6, 7, 8]]  # row-major
    if (fixed != (0, 0, 0, 1)).any():
        bad = fixed[(fixed != (0, 0, 0, 1)).any(axis=1)][0].tolist()
        fail("flow_gt", name, form, f"{bad} for its entries [1,0], [2,0], [2,1], [2,2]")
    focal = values[:, [0, 4]]
    if (focal <= 0).any():
        fail(
            "flow_gt",
            name,
            f"invertible, {form} with fx > 0 and fy > 0",
            f"a smallest fx or fy of {focal.min():g}",
        )


def _check_similarity(pose: Tensor) -> None:
    values = _finite_values("dst_from_src", pose)
    if (values[:, 12:] != (0, 0, 0, 1)).any():
        remedy = "Is it transposed? Poses act on column vectors."
        fail("flow_gt", "dst_from_src", "[[R,t],[0,0,0,1]]", "a bottom row that is not 0, 0, 0, 1", remedy)
    turn = values.reshape(-1, 4, 4)[:, :3, :3].astype(np.float64)
    gram = turn @ turn.transpose(0, 2, 1)
    scale = np.trace(gram, axis1=1, axis2=2)[:, None, None] / 3
    deviation = np.abs(gram - scale * np.eye(3))
    if not ((deviation <= 1e-3 * scale) & (scale > 0)).all():
        rule = "invertible, a rotation times a unit scale and a translation"
        fail("flow_gt", "dst_from_src", rule, f"R R^T up to {deviation.max():g} away from a multiple of I")


def _finite_values(name: str, matrices: Tensor) -> np.ndarray:
    """One matrix per row."""
    values = matrices.detach().numpy().reshape(-1, matrices.shape[-1] * matrices.shape[-2])
    if not np.isfinite(values).all():
        require_finite("flow_gt", name, matrices)
    return values
