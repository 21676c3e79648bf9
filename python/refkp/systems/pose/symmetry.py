"""The transforms of an object after which it looks the same: discrete ones, and continuous ones in small steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from refkp._checks import fail, require_finite, require_shape
from refkp.geometry.rotations import axis_angle_to_matrix


class ContinuousSymmetry(NamedTuple):
    """An object that any turn about a line leaves as it is."""

    axis: Tensor  # [3], any length but 0
    offset: Tensor  # [3], a point of the line, millimetres


def symmetry_transforms(
    discrete: Tensor | None = None,
    continuous: Sequence[ContinuousSymmetry] = (),
    *,
    max_step: float = 0.01,
) -> Tensor:
    """Every transform of the object frame after which the object looks the same; the identity comes first.

    A continuous symmetry becomes ceil(pi / max_step) equal turns: a surface point is at most half the diameter
    from the line, so that between two turns it moves by at most `max_step` of the diameter. With both kinds,
    each turn follows each discrete transform.

    Args:
        discrete: [n,4,4] float, without or with the identity; None: there are none.
        continuous: lines of rotation.
        max_step: the largest step of a surface point between two turns, as a part of the diameter.

    Returns:
        float64 [m,4,4], obj_from_obj.

    Raises:
        ValueError: a shape, an axis of length 0, or a step that is not positive.

    Source: spec pose 6.5.

    >>> symmetry_transforms().shape
    torch.Size([1, 4, 4])
    >>> turns = ContinuousSymmetry(torch.tensor([0.0, 0, 1]), torch.zeros(3))
    >>> symmetry_transforms(continuous=[turns]).shape
    torch.Size([315, 4, 4])
    """
    if not max_step > 0:
        fail("symmetry_transforms", "max_step", "positive", max_step)
    fixed = torch.eye(4, dtype=torch.float64)[None]
    if discrete is not None and len(discrete):
        require_shape("symmetry_transforms", "discrete", discrete, "n,4,4")
        given = discrete.double()
        is_identity = (given - fixed).abs().amax((1, 2)) < 1e-9
        fixed = torch.cat((fixed, given[~is_identity]))
    if not continuous:
        return fixed
    turns = torch.cat([_turns(symmetry, max_step) for symmetry in continuous])
    return (turns[:, None] @ fixed).flatten(0, 1)


def _turns(symmetry: ContinuousSymmetry, max_step: float) -> Tensor:
    """[k,4,4]: x -> R (x - offset) + offset for k equal angles from 0."""
    axis, offset = (torch.as_tensor(value, dtype=torch.float64) for value in symmetry)
    require_shape("symmetry_transforms", "axis", axis, "3")
    require_shape("symmetry_transforms", "offset", offset, "3")
    require_finite("symmetry_transforms", "axis", axis)
    length = torch.linalg.vector_norm(axis)
    if not length > 0:
        fail("symmetry_transforms", "axis", "longer than 0", axis.tolist())
    steps = math.ceil(math.pi / max_step)
    angle = torch.arange(steps, dtype=torch.float64) * (2 * math.pi / steps)
    turns = torch.eye(4, dtype=torch.float64).repeat(steps, 1, 1)
    turns[:, :3, :3] = axis_angle_to_matrix(angle[:, None] * (axis / length))
    turns[:, :3, 3] = offset - turns[:, :3, :3] @ offset
    return turns
