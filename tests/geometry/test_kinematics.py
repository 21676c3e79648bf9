"""Trees of joints: against joints one after another, gradients, and what is no tree."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from refkp.geometry.kinematics import depths, descendants, forward_kinematics

PARENTS = (-1, 0, 1, 0, 3, 4, 1, 0)


def one_by_one(local: Tensor, offset: Tensor) -> list[Tensor]:
    frames: list[Tensor] = []
    for joint, parent in enumerate(PARENTS):
        own = torch.eye(4, dtype=local.dtype)
        own[:3, :3], own[:3, 3] = local[joint], offset[joint]
        frames.append(own if parent < 0 else frames[parent] @ own)
    return frames


def test_agrees_with_joints_one_after_another() -> None:
    torch.manual_seed(0)
    local, offset = (
        torch.randn(2, 3, 8, 3, 3, dtype=torch.float64),
        torch.randn(2, 3, 8, 3, dtype=torch.float64),
    )
    found = forward_kinematics(local, offset, PARENTS)
    want = torch.stack(one_by_one(local[1, 2], offset[1, 2]))
    torch.testing.assert_close(found.linear[1, 2], want[:, :3, :3])
    torch.testing.assert_close(found.position[1, 2], want[:, :3, 3])


def test_gradients() -> None:
    torch.manual_seed(0)
    inputs = [torch.randn(1, 8, *shape, dtype=torch.float64, requires_grad=True) for shape in ((3, 3), (3,))]
    assert torch.autograd.gradcheck(lambda a, b: tuple(forward_kinematics(a, b, PARENTS)), inputs)


def test_depths_and_what_hangs_on_a_joint() -> None:
    assert depths(PARENTS) == [0, 1, 2, 1, 2, 3, 2, 1]
    hangs = descendants(PARENTS)
    assert hangs[3].nonzero()[:, 0].tolist() == [3, 4, 5]
    assert hangs[0].all()


@pytest.mark.parametrize("parents", [(), (0, 0), (-1, -1), (-1, 2, 0), (-1, 1)])
def test_what_is_no_tree(parents: tuple[int, ...]) -> None:
    count = len(parents)
    with pytest.raises(ValueError, match="`parents` must be -1 for the first joint"):
        forward_kinematics(torch.zeros(count, 3, 3), torch.zeros(count, 3), parents)


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"`offset` must be \[...,2,3\]"):
        forward_kinematics(torch.zeros(2, 3, 3), torch.zeros(3, 3), (-1, 0))
