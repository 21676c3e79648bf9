"""What turns the template tokens in joint attention, from the poses of the templates.

The unseen token of a template never turns. Source: spec pose 1.3 to 1.5.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as functional
from torch import Tensor

from refkp._checks import fail
from refkp.nn.attention import Code
from refkp.nn.rope2d import grid_positions
from refkp.nn.rotary import Rotary
from refkp.systems.pose.model.s2rope import (
    SphereSplit,
    automatic_split,
    frame_faces,
    planar_phases,
    published_phases,
    reference_faces,
    s2_rotary,
    smooth_phases,
)
from refkp.systems.pose.model.so3 import so3_channels, so3_rotate
from refkp.systems.pose.model.spec import AttentionSpec
from refkp.systems.pose.templates.selection import view_directions


def template_code(
    spec: AttentionSpec, head_dim: int, grid: tuple[int, int], cam_from_obj: Tensor, ref_direction: Tensor
) -> Code | None:
    """The code of the queries and keys [B,h,S,N+1,D] of all templates, or None for the position "none".

    Args:
        spec: which position.
        head_dim: D.
        grid: rows and columns of the patches.
        cam_from_obj: [B,S,4,4], object to camera.
        ref_direction: [B,3] unit, from the object to the camera of the anchor; read by "s2rope*".

    Raises:
        ValueError: a sphere split that does not fill D.
    """
    if spec.position == "none":
        return None
    if spec.position == "so3":
        return _so3_code(so3_channels(head_dim, spec.so3_fraction), cam_from_obj)
    return _sphere_code(spec, sphere_split(spec, head_dim), grid, cam_from_obj, ref_direction)


def sphere_split(spec: AttentionSpec, head_dim: int) -> SphereSplit:
    """The split of the channels of a head.

    Raises:
        ValueError: it does not fill the head.
    """
    if spec.sphere_split is None:
        return automatic_split(head_dim)
    split = SphereSplit(*spec.sphere_split)
    if split.channels != head_dim or min(split) < 0:
        rule = f"(x, y, face) with 2 (x + y + 6 face) = {head_dim}"
        fail("AttentionSpec", "sphere_split", rule, spec.sphere_split)
    return split


def anchor_frame(cam_from_obj: Tensor, ref_direction: Tensor) -> Tensor:
    """An orthonormal frame [B,3,3] (rows) that turns with the object: the reference and an axis of a camera.

    The second row is the part of the x axis of a camera orthogonal to the reference; the camera is that of the
    template whose direction is nearest to it, the anchor itself where it is among the templates.

    Args:
        cam_from_obj: [B,S,4,4].
        ref_direction: [B,3] unit.
    """
    nearest = (view_directions(cam_from_obj[..., :3, :3]) * ref_direction.unsqueeze(-2)).sum(-1).argmax(-1)
    axis = cam_from_obj[torch.arange(len(nearest), device=nearest.device), nearest, 0, :3]
    along = (axis * ref_direction).sum(-1, keepdim=True)
    e1 = functional.normalize(axis - along * ref_direction, dim=-1)
    return torch.stack((ref_direction, e1, torch.linalg.cross(ref_direction, e1)), -2)


def _so3_code(channels: int, cam_from_obj: Tensor) -> Code:
    rotation = cam_from_obj[:, None, :, :3, :3]

    def code(tokens: Tensor) -> Tensor:
        return torch.cat((so3_rotate(tokens[..., :-1, :], rotation, channels), tokens[..., -1:, :]), -2)

    return code


def _sphere_code(
    spec: AttentionSpec,
    split: SphereSplit,
    grid: tuple[int, int],
    cam_from_obj: Tensor,
    ref_direction: Tensor,
) -> Rotary:
    cam_from_obj, ref_direction = cam_from_obj.double(), ref_direction.double()
    directions = view_directions(cam_from_obj[..., :3, :3])
    if spec.position == "s2rope":
        face = published_phases(directions, reference_faces(ref_direction), split.face)
    else:
        faces = frame_faces(anchor_frame(cam_from_obj, ref_direction))
        face = smooth_phases(directions, faces, split.face)
    positions = functional.pad(grid_positions(grid, cam_from_obj.device), (0, 0, 0, 1))
    x, y = planar_phases(positions, split)
    patches = torch.arange(len(positions), device=x.device) < len(positions) - 1
    leading = (*directions.shape[:2], len(positions))  # [B,S,N+1]
    face = face.to(x.dtype).unsqueeze(2).expand(*leading, -1, -1)
    code = s2_rotary(x.expand(*leading, -1), y.expand(*leading, -1), face, patches.expand(leading))
    # An axis for the heads, which all turn alike.
    return replace(code, cos=code.cos.unsqueeze(1), sin=code.sin.unsqueeze(1))
