"""Joints of a SMIL body and the loss of its keypoints, as the end-to-end cases of the multi-view system have them.

They stand here until the system has a body: what those cases ask of it now is the projection between the two.
Source: spec multiview e.2 and g.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class SmilModel(NamedTuple):
    """The arrays of a model file: V vertices, J joints, nb shapes."""

    v_template: Tensor  # [V,3]
    shapedirs: Tensor  # [V,3,nb]
    posedirs: Tensor  # [V,3,9(J-1)], or empty
    J_regressor: Tensor  # [J,V]
    J: Tensor  # [J,3]
    weights: Tensor  # [V,J]
    kintree_table: Tensor  # int [2,J]; row 0: parents, which come before their children


class SmilPose(NamedTuple):
    """What moves B bodies."""

    rotations: Tensor  # [B,J,3,3], the root first
    betas: Tensor  # [B,nb]
    log_scale: Tensor | None  # [B,J,3]; None: 0
    offsets: Tensor | None  # [B,J,3]; None: 0


def smil_joints(
    model: SmilModel, pose: SmilPose, *, propagate_scaling: bool, static_joints: bool, offset_sign: Tensor
) -> Tensor:
    """Joints [B,J,3] of posed bodies, in the model's frame.

    Joint j with parent p moves by [P_p R_j S_j | J_j - J_p + sign offset_j], S = diag(exp(log_scale)), P_p = S_p^-1
    unless scales propagate; the root by [R_0 | J_0]. Joints are regressed from the skinned vertices, or, if static,
    are the ends of the chain.
    """
    shaped = model.v_template + torch.einsum("vck,bk->bvc", model.shapedirs, pose.betas)
    rest = model.J.expand(len(shaped), -1, -1) if static_joints else model.J_regressor @ shaped
    linear, ends = _chain(model, pose, rest, propagate_scaling, offset_sign)
    if static_joints:
        return ends
    if model.posedirs.numel():
        turned = (pose.rotations[:, 1:] - torch.eye(3).to(rest)).flatten(1)
        shaped = shaped + torch.einsum("vck,bk->bvc", model.posedirs, turned)
    shift = ends - (linear @ rest[..., None])[..., 0]
    skinned = torch.einsum("vj,bjcd,bvd->bvc", model.weights, linear, shaped) + model.weights @ shift
    return model.J_regressor @ skinned


def _chain(
    model: SmilModel, pose: SmilPose, rest: Tensor, propagate_scaling: bool, offset_sign: Tensor
) -> tuple[Tensor, Tensor]:
    """Linear parts [B,J,3,3] and translations [B,J,3] of the joints' maps into the model's frame."""
    scale = torch.ones_like(rest) if pose.log_scale is None else pose.log_scale.exp()
    linear, ends = [pose.rotations[:, 0]], [rest[:, 0]]
    for joint, parent in enumerate(model.kintree_table[0].tolist()[1:], start=1):
        local = pose.rotations[:, joint] * scale[:, joint, None, :]
        if not propagate_scaling:
            local = local / scale[:, parent, :, None]
        offset = rest[:, joint] - rest[:, parent]
        if pose.offsets is not None:
            offset = offset + offset_sign.to(rest) * pose.offsets[:, joint]
        linear.append(linear[parent] @ local)
        ends.append(ends[parent] + (linear[parent] @ offset[..., None])[..., 0])
    return torch.stack(linear, dim=1), torch.stack(ends, dim=1)


def masked_keypoint_loss(
    estimate: Tensor, target: Tensor, visibility: Tensor, view_mask: Tensor, eps: float = 1e-8
) -> Tensor:
    """sum m |p - g|^2 / (2 sum m + eps) + eps; m: visible, inside the picture, in a view that is there.

    Args:
        estimate, target: [B,V,J,2], shares of the picture.
        visibility: [B,V,J]; whatever is not 0 counts alike.
        view_mask: bool [B,V].
    """
    inside = ((target >= 0) & (target <= 1)).all(-1)
    counts = (visibility != 0) & inside & view_mask[..., None]
    squares = torch.where(counts, (estimate - target).square().sum(-1), 0.0)
    return squares.sum() / (2 * counts.sum() + eps) + eps
