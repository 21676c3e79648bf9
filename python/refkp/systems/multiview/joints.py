"""Joints of a model from the joints that were labelled."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from refkp._checks import require_shape


class ModelJoints(NamedTuple):
    """Points in the order of a model's joints."""

    points: Tensor  # [...,J,D]; 0 where no label stands for the joint
    visibility: Tensor  # [...,J]; 0 there


def map_joints(points: Tensor, visibility: Tensor, joint_map: Tensor) -> ModelJoints:
    """Reorder labels into the joints of a model.

    Args:
        points: [...,K,D], float.
        visibility: [...,K], float in [0,1] or bool.
        joint_map: integer [J], which label stands for joint i; -1: none.

    Returns:
        ModelJoints(points [...,J,D], visibility [...,J]), of the dtypes that came.

    Source: spec multiview a.7.

    >>> map_joints(torch.tensor([[4.0], [5.0]]), torch.ones(2), torch.tensor([1, -1, 0])).points.flatten()
    tensor([5., 0., 4.])
    """
    require_shape("map_joints", "joint_map", joint_map, "J")
    index, known = joint_map.clamp(min=0), joint_map >= 0
    chosen, seen = points[..., index, :], visibility[..., index]
    return ModelJoints(
        torch.where(known[:, None], chosen, torch.zeros_like(chosen)),
        torch.where(known, seen, torch.zeros_like(seen)),
    )
