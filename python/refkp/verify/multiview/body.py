"""Adapters of the body: skinning, and sizes of limbs from components."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from refkp.geometry.rotations import axis_angle_to_matrix
from refkp.systems.multiview.body.components import limb_sizes
from refkp.systems.multiview.body.model import Body
from refkp.systems.multiview.body.posing import BodyPose, pose_body, shaped_body
from refkp.verify.gradients import leaf, scalar_gradients
from refkp.verify.registry import adapter


def model_body(params: Mapping[str, Any], arrays: Mapping[str, Tensor]) -> Body:
    """The body whose arrays a case carries."""
    model = {
        name.removeprefix("in_model_"): value
        for name, value in arrays.items()
        if name.startswith("in_model_")
    }
    static = params["static_joint_locs"]
    parents = tuple(int(parent) for parent in model["kintree_table"][0])
    return Body(
        vertices=model["v_template"],
        faces=model.get("f", torch.zeros(0, 3)).long(),
        weights=model["weights"],
        parents=parents,
        joint_names=tuple(f"joint_{number}" for number in range(len(parents))),
        rest_joints=model["J"],
        regressor=None if static else model["J_regressor"],
        shapedirs=model["shapedirs"],
        posedirs=model["posedirs"] if model["posedirs"].numel() else None,
        trans_sign=tuple(params["trans_sign"]),
    )


@adapter("multiview", "lbs")
def _lbs(params: Mapping[str, Any], arrays: Mapping[str, Tensor], backend: str | None) -> dict[str, Any]:
    names = ("betas", "theta", "log_beta_scales", "betas_trans")
    inputs = {name: leaf(arrays[f"in_{name}"]) for name in names if f"in_{name}" in arrays}
    body = model_body(params, arrays)
    rotations = axis_angle_to_matrix(inputs["theta"])
    pose = BodyPose(
        rotations,
        torch.zeros_like(rotations[:, 0, 0]),
        inputs["betas"],
        inputs.get("log_beta_scales"),
        inputs.get("betas_trans"),
    )
    propagate = params["propagate_scaling"]
    posed = pose_body(body, pose, propagate_scaling=propagate, in_world=False, root_divides=True)
    score = (arrays["in_w_verts"] * posed.vertices).sum() + (arrays["in_w_joints"] * posed.joints).sum()
    return {
        "out_verts": posed.vertices,
        "out_joints": posed.joints,
        "out_posed_joints": posed.frames.position,
        "out_rotmats": rotations,
        "out_v_shaped": shaped_body(body, inputs["betas"], len(rotations))[0],
        **scalar_gradients(score, {f"grad_{name}": tensor for name, tensor in inputs.items()}),
    }


@adapter("multiview", "pca_scale_trans")
def _pca_scale_trans(
    params: Mapping[str, Any], arrays: Mapping[str, Tensor], backend: str | None
) -> dict[str, Any]:
    inputs = {name: leaf(arrays[f"in_{name}"]) for name in ("scale_weights", "trans_weights")}
    sizes = limb_sizes(arrays["in_scaledirs"], arrays["in_transdirs"], *inputs.values())
    score = (arrays["in_w_scale"] * sizes.log_scale).sum() + (arrays["in_w_trans"] * sizes.offsets).sum()
    return {
        "out_log_beta_scales": sizes.log_scale,
        "out_betas_trans": sizes.offsets,
        **scalar_gradients(score, {f"grad_{name}": tensor for name, tensor in inputs.items()}),
    }
