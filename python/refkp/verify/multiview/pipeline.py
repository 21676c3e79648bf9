"""Adapter of the way from a body through its cameras to the loss of its keypoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from refkp.geometry.cameras import project
from refkp.geometry.fov import PyTorch3DFoVCamera, from_pytorch3d_fov
from refkp.geometry.rotations import rotation_6d_to_matrix
from refkp.systems.multiview.body.posing import BodyPose, JointsOnly
from refkp.systems.multiview.crops import yx_from_pixels
from refkp.systems.multiview.losses.points import keypoint_loss, keypoint_weights
from refkp.verify.gradients import leaf, scalar_gradients
from refkp.verify.multiview.body import model_body
from refkp.verify.registry import adapter

_DIFFERENTIATED = ("global_rot", "joint_rot", "betas", "trans", "fov", "R", "T")
_OPTIONAL = ("mesh_scale", "log_beta_scales", "betas_trans")


@adapter("multiview", "pipeline_kp2d")
def _pipeline_kp2d(
    params: Mapping[str, Any], arrays: Mapping[str, Tensor], backend: str | None
) -> dict[str, Any]:
    names = (*_DIFFERENTIATED, *(name for name in _OPTIONAL if f"in_{name}" in arrays))
    inputs = {name: leaf(arrays[f"in_{name}"]) for name in names}
    rotations = torch.cat((inputs["global_rot"][:, None], inputs["joint_rot"]), dim=1)
    pose = BodyPose(
        rotation_6d_to_matrix(rotations),
        inputs["trans"],
        inputs["betas"],
        inputs.get("log_beta_scales"),
        inputs.get("betas_trans"),
        inputs.get("mesh_scale"),
    )
    world = JointsOnly(model_body(params, arrays))(pose, propagate_scaling=params["propagate_scaling"])
    camera = PyTorch3DFoVCamera(inputs["R"], inputs["T"], inputs["fov"], arrays["in_aspect"])
    image_size = torch.tensor([params["image_size"]] * 2)
    shares = yx_from_pixels(project(world[:, None], *from_pytorch3d_fov(camera, image_size)).uv, image_size)
    target = arrays["in_target_yx"]
    weights = keypoint_weights(target, arrays["in_visibility"], arrays["in_view_mask"].bool(), soft=False)
    loss = keypoint_loss(shares, target, weights, of="coordinates").value
    gradients = scalar_gradients(loss, {f"grad_{name}": tensor for name, tensor in inputs.items()})
    return {"out_joints": world, "out_projected_yx": shares, "out_loss": loss, **gradients}
