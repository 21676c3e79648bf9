"""Adapter of the way from a body to the loss of its keypoints: the cameras and pixels between are refkp's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from refkp.geometry.cameras import project
from refkp.geometry.fov import PyTorch3DFoVCamera, from_pytorch3d_fov
from refkp.geometry.rotations import rotation_6d_to_matrix
from refkp.systems.multiview.crops import yx_from_pixels
from refkp.verify.gradients import leaf, scalar_gradients
from refkp.verify.originals.smil_pipeline import SmilModel, SmilPose, masked_keypoint_loss, smil_joints
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
    joints = smil_joints(
        SmilModel(*(arrays[f"in_model_{name}"] for name in SmilModel._fields)),
        SmilPose(
            rotation_6d_to_matrix(rotations),
            inputs["betas"],
            inputs.get("log_beta_scales"),
            inputs.get("betas_trans"),
        ),
        propagate_scaling=params["propagate_scaling"],
        static_joints=params["static_joint_locs"],
        offset_sign=torch.tensor(params["trans_sign"]),
    )
    size = inputs["mesh_scale"][:, None] if "mesh_scale" in inputs else 1.0
    world = (joints - joints[:, :1]) * size + inputs["trans"][:, None]
    camera = PyTorch3DFoVCamera(inputs["R"], inputs["T"], inputs["fov"], arrays["in_aspect"])
    image_size = torch.tensor([params["image_size"]] * 2)
    shares = yx_from_pixels(project(world[:, None], *from_pytorch3d_fov(camera, image_size)).uv, image_size)
    loss = masked_keypoint_loss(
        shares, arrays["in_target_yx"], arrays["in_visibility"], arrays["in_view_mask"]
    )
    gradients = scalar_gradients(loss, {f"grad_{name}": tensor for name, tensor in inputs.items()})
    return {"out_joints": world, "out_projected_yx": shares, "out_loss": loss, **gradients}
