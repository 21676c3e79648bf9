"""What turns template tokens, and what it must leave."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from refkp.geometry.sphere import random_rotation
from refkp.systems.pose.model.position import anchor_frame, sphere_split, template_code
from refkp.systems.pose.model.s2rope import SphereSplit
from refkp.systems.pose.model.spec import AttentionSpec, Position
from refkp.systems.pose.templates.selection import view_directions

GRID = (2, 3)


def poses(rotation: Tensor) -> Tensor:
    return torch.nn.functional.pad(rotation, (0, 1, 0, 1))


def turned(position: Position, tokens: Tensor, cam_from_obj: Tensor) -> Tensor:
    reference = view_directions(cam_from_obj[..., :3, :3])[:, 1]
    code = template_code(AttentionSpec(position=position), tokens.shape[-1], GRID, cam_from_obj, reference)
    return tokens if code is None else code(tokens)


@pytest.mark.parametrize("position", ["so3", "s2rope", "s2rope_equivariant"])
def test_the_unseen_token_never_turns(position: Position) -> None:
    tokens = torch.randn(2, 2, 3, 7, 32)  # [B,h,S,N+1,D]
    got = turned(position, tokens, poses(random_rotation(6).unflatten(0, (2, 3))))
    assert torch.equal(got[..., -1, :], tokens[..., -1, :])
    assert not torch.isclose(got, tokens).all(-1)[..., 1:-1].any()


@pytest.mark.parametrize("position", ["so3", "s2rope", "s2rope_equivariant", "none"])
def test_what_another_object_frame_changes(position: Position) -> None:
    """The products of patches of any two templates stay, but for the published sphere code."""
    tokens, rotation = torch.randn(2, 2, 3, 7, 32).double(), random_rotation(6).unflatten(0, (2, 3))

    def products(rotation: Tensor) -> Tensor:
        patches = turned(position, tokens, poses(rotation))[..., :-1, :].flatten(2, 3)
        return patches @ patches.mT

    change = (products(rotation @ random_rotation(1)[0]) - products(rotation)).abs().max()
    if position == "s2rope":
        assert float(change) > 0.1
    else:
        assert float(change) < 1e-5


@pytest.mark.parametrize("position", ["so3", "s2rope", "s2rope_equivariant"])
def test_each_template_turns_by_its_own_pose(position: Position) -> None:
    """Templates in another order turn as before."""
    tokens, rotation = torch.randn(1, 2, 3, 7, 32), random_rotation(3)[None]
    order = torch.tensor([2, 1, 0])
    got = turned(position, tokens[:, :, order], poses(rotation[:, order]))
    torch.testing.assert_close(got[:, :, order], turned(position, tokens, poses(rotation)))


def test_view_directions_look_from_the_object_to_the_camera() -> None:
    rotation = random_rotation(4)
    camera_centre = -(rotation.mT @ torch.tensor([0.0, 0.0, 500.0]).double())  # t = (0, 0, 500)
    torch.testing.assert_close(view_directions(poses(rotation)[..., :3, :3]), camera_centre / 500)


def test_anchor_frame() -> None:
    rotation = random_rotation(6).unflatten(0, (2, 3))
    reference = view_directions(poses(rotation)[..., :3, :3])[:, 1]
    frame = anchor_frame(poses(rotation), reference)
    torch.testing.assert_close(frame @ frame.mT, torch.eye(3).double().expand(2, 3, 3))
    torch.testing.assert_close(torch.linalg.det(frame), torch.ones(2).double())
    torch.testing.assert_close(frame[:, :2], torch.stack((reference, rotation[:, 1, 0]), 1))


def test_sphere_split() -> None:
    assert sphere_split(AttentionSpec(position="s2rope", sphere_split=(7, 7, 3)), 64) == (7, 7, 3)
    with pytest.raises(ValueError, match=r"2 \(x \+ y \+ 6 face\) = 32; got \(7, 7, 3\)"):
        sphere_split(AttentionSpec(position="s2rope", sphere_split=(7, 7, 3)), 32)


@pytest.mark.parametrize("position", ["s2rope", "s2rope_equivariant"])
def test_the_first_channels_turn_with_the_column_and_the_next_with_the_row(position: Position) -> None:
    """At the first of their frequencies a pair turns by one radian a patch."""
    rows, columns = 2, 3
    split = SphereSplit(4, 6, 1)
    spec = AttentionSpec(position=position, sphere_split=split)
    cameras = poses(random_rotation(1)[None])
    code = template_code(spec, split.channels, (rows, columns), cameras, torch.tensor([[0.0, 0.6, 0.8]]))
    assert code is not None
    tokens = torch.zeros(1, 1, 1, rows * columns + 1, split.channels, dtype=torch.float64)
    tokens[..., 0], tokens[..., 2 * split.x] = 1.0, 1.0
    turned_tokens = code(tokens)[0, 0, 0, :-1].unflatten(0, (rows, columns))
    row, column = torch.arange(rows).double(), torch.arange(columns).double()
    for first, angle in ((0, column.expand(rows, -1)), (2 * split.x, row[:, None].expand(-1, columns))):
        want = torch.stack((angle.cos(), angle.sin()), -1)
        torch.testing.assert_close(turned_tokens[..., first : first + 2], want)
