"""Adapters of the losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from refkp.geometry.rotations import matrix_to_axis_angle, rotation_6d_to_matrix, rotation_angle_between
from refkp.systems.multiview.losses.cameras import camera_loss
from refkp.systems.multiview.losses.points import (
    keypoint_loss,
    keypoint_loss_by_view,
    keypoint_weights,
    point_loss,
)
from refkp.systems.multiview.losses.rotations import joint_angle_loss, rotation_loss
from refkp.systems.multiview.losses.silhouette import soft_silhouette
from refkp.systems.multiview.training.curriculum import stepped
from refkp.verify.gradients import leaf, scalar_gradients
from refkp.verify.registry import adapter

Arrays = Mapping[str, Tensor]
Params = Mapping[str, Any]


@adapter("multiview", "loss_kp2d_masked")
def _kp2d_masked(params: Params, arrays: Arrays, backend: str | None) -> dict[str, Any]:
    estimate = leaf(arrays["in_pred"])
    mask = arrays["in_view_mask"].bool() if "in_view_mask" in arrays else None
    weights = keypoint_weights(
        arrays["in_target"], arrays["in_visibility"], mask, arrays.get("in_joint_weights"), soft=False
    )
    loss = keypoint_loss(estimate, arrays["in_target"], weights, of="coordinates").value
    return {"out_loss": loss, **scalar_gradients(loss, {"grad_pred": estimate})}


@adapter("multiview", "loss_kp2d_visibility_weighted")
def _kp2d_visibility_weighted(params: Params, arrays: Arrays, backend: str | None) -> dict[str, Any]:
    estimate, target = leaf(arrays["in_pred"]), arrays["in_target"]
    weights = torch.where(arrays["in_view_valid"].bool()[..., None], arrays["in_visibility"], 0.0)
    by_view = keypoint_loss_by_view(estimate, target, weights)
    total = keypoint_loss(estimate, target, weights).value
    return {
        "out_per_view_loss": by_view.loss,
        "out_per_view_weight": by_view.weight,
        "out_total": total,
        **scalar_gradients(total, {"grad_pred": estimate}),
    }


@adapter("multiview", "loss_kp3d_masked")
def _kp3d_masked(params: Params, arrays: Arrays, backend: str | None) -> dict[str, Any]:
    estimate, target = leaf(arrays["in_pred"]), arrays["in_target"]
    present = torch.isfinite(target).all(-1) & (target != 0).any(-1)
    weights = (present & arrays["in_sample_mask"].bool()[:, None]).to(target.dtype)
    if params["weighted"]:
        weights = weights * arrays["in_joint_weights"]
    loss = point_loss(estimate, target, weights).value
    return {"out_loss": loss, **scalar_gradients(loss, {"grad_pred": estimate})}


@adapter("multiview", "loss_joint_angle")
def _joint_angle(params: Params, arrays: Arrays, backend: str | None) -> dict[str, Any]:
    joints = leaf(arrays["in_joint_rot_6d"])
    rotations = rotation_6d_to_matrix(joints)
    loss = joint_angle_loss(rotations).value
    return {
        "out_axis_angle": matrix_to_axis_angle(rotations),
        "out_loss": loss,
        **scalar_gradients(loss, {"grad_joint_rot_6d": joints}),
    }


@adapter("multiview", "loss_rotation_frobenius")
def _rotation_frobenius(params: Params, arrays: Arrays, backend: str | None) -> dict[str, Any]:
    estimate = leaf(arrays["in_pred_6d"])
    target = rotation_6d_to_matrix(arrays["in_target_6d"])
    loss = rotation_loss(rotation_6d_to_matrix(estimate), target, arrays["in_mask"].bool()).value
    return {"out_loss": loss, **scalar_gradients(loss, {"grad_pred_6d": estimate})}


@adapter("multiview", "loss_camera")
def _camera(params: Params, arrays: Arrays, backend: str | None) -> dict[str, Any]:
    known = arrays["in_mask"].bool()
    inputs = {name: leaf(arrays[f"in_pred_{name}"]) for name in ("fov", "R", "T")}
    fov, R, T = (
        camera_loss(value, arrays[f"in_gt_{name}"], known, by_view=True).value
        for name, value in inputs.items()
    )
    return {
        "out_fov": fov,
        "out_cam_rot": R,
        "out_cam_trans": T,
        "out_geodesic": rotation_angle_between(inputs["R"], arrays["in_gt_R"]),
        **scalar_gradients(fov + R + T, {f"grad_pred_{name}": value for name, value in inputs.items()}),
    }


@adapter("multiview", "soft_silhouette")
def _soft_silhouette(params: Params, arrays: Arrays, backend: str | None) -> dict[str, Any]:
    vertices = leaf(arrays["in_verts_ndc"])
    size = tuple(params["image_size_hw"])
    alpha = soft_silhouette(vertices[None], arrays["in_faces"].long(), size, sigma=params["sigma"])
    score = (arrays["in_w"] * alpha).sum()
    return {"out_alpha": alpha, **scalar_gradients(score, {"grad_verts_ndc": vertices})}


@adapter("multiview", "curriculum")
def _curriculum(params: Params, arrays: Arrays, backend: str | None) -> dict[str, Any]:
    epochs = arrays["in_epochs"].long().tolist()
    stages = {int(epoch): values for epoch, values in params["stages"].items()}
    rates = {int(epoch): {"lr": value} for epoch, value in params["lr_stages"].items()}
    weights = [stepped(params["base"], stages, epoch) for epoch in epochs]
    lr = [stepped({"lr": params["lr_base"]}, rates, epoch)["lr"] for epoch in epochs]
    rows = [[values[key] for key in params["keys"]] for values in weights]
    return {
        "out_weights": torch.tensor(rows, dtype=torch.float64),
        "out_lr": torch.tensor(lr, dtype=torch.float64),
    }
