"""Trees of joints: where each stands and how it is turned, from what moves it against its parent."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from refkp._checks import fail, require_trailing


class JointFrames(NamedTuple):
    """The map of every joint's frame into that of the whole tree: x = linear y + position."""

    linear: Tensor  # [...,J,3,3]
    position: Tensor  # [...,J,3]


def forward_kinematics(local: Tensor, offset: Tensor, parents: Sequence[int]) -> JointFrames:
    """Frames of the joints of a tree: G_j = G_p [local_j | offset_j], for the root [local_0 | offset_0].

    All joints of one depth are computed at once.

    Args:
        local: [...,J,3,3], float: how a joint turns (and scales) what hangs on it, in its parent's frame.
        offset: [...,J,3], where a joint stands in its parent's frame.
        parents: J numbers; -1 for the root, which comes first; parents come before their children.

    Returns:
        JointFrames(linear [...,J,3,3], position [...,J,3]).

    Raises:
        ValueError: shapes that do not fit, or parents that are no such tree.

    Gradients reach local and offset. Source: spec multiview e.2.

    >>> turn = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    >>> arm = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    >>> forward_kinematics(turn.expand(3, 3, 3), arm, (-1, 0, 1)).position
    tensor([[ 0.,  0.,  0.],
            [ 0.,  1.,  0.],
            [-1.,  1.,  0.]])
    """
    joints = len(parents)
    require_trailing("forward_kinematics", "local", local, f"{joints},3,3")
    require_trailing("forward_kinematics", "offset", offset, f"{joints},3")
    levels, place = _levels(tuple(parents))
    maps = torch.cat((local, offset[..., None]), dim=-1)
    done = maps[..., :1, :, :]
    for children, above in levels:
        parent, own = done[..., above, :, :], maps[..., children, :, :]
        moved = parent[..., :3] @ own
        moved = torch.cat((moved[..., :3], moved[..., 3:] + parent[..., 3:]), dim=-1)
        done = torch.cat((done, moved), dim=-3)
    done = done[..., place, :, :]
    return JointFrames(done[..., :3], done[..., 3])


def require_tree(function: str, parents: Sequence[int]) -> None:
    """Raise ValueError unless `parents` has the root, -1, first and every parent before its children."""
    good = len(parents) > 0 and parents[0] == -1
    good = good and all(0 <= parent < joint for joint, parent in enumerate(parents[1:], start=1))
    if not good:
        rule = "-1 for the first joint, and for every other the number of one before it"
        fail(function, "parents", rule, list(parents))


def depths(parents: Sequence[int]) -> list[int]:
    """How many joints lie between each joint and the root, the root's own included.

    >>> depths((-1, 0, 0, 2))
    [0, 1, 1, 2]
    """
    found: list[int] = []
    for parent in parents:
        found.append(0 if parent < 0 else found[parent] + 1)
    return found


def descendants(parents: Sequence[int]) -> Tensor:
    """bool [J,J]: joint k hangs on joint j, or is it.

    >>> descendants((-1, 0, 0)).int()
    tensor([[1, 1, 1],
            [0, 1, 0],
            [0, 0, 1]], dtype=torch.int32)
    """
    hangs = torch.eye(len(parents), dtype=torch.bool)
    for joint, parent in enumerate(parents):
        if parent >= 0:
            hangs[:, joint] |= hangs[:, parent]
    return hangs


@functools.lru_cache(maxsize=64)
def _levels(parents: tuple[int, ...]) -> tuple[tuple[tuple[list[int], list[int]], ...], list[int]]:
    """By depth below the root: the joints, and where their parents stand in the order by depth; each joint's place."""
    require_tree("forward_kinematics", parents)
    depth = depths(parents)
    order = sorted(range(len(parents)), key=depth.__getitem__)
    place = [0] * len(parents)
    for at, joint in enumerate(order):
        place[joint] = at
    levels = []
    for level in range(1, max(depth) + 1):
        children = [joint for joint in order if depth[joint] == level]
        levels.append((children, [place[parents[joint]] for joint in children]))
    return tuple(levels), place
