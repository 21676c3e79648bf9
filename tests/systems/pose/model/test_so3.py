"""Channels as vectors that turn with the template."""

from __future__ import annotations

import pytest
import torch

from refkp.geometry.sphere import random_rotation
from refkp.systems.pose.model.so3 import so3_channels, so3_rotate


@pytest.mark.parametrize(
    ("head_dim", "fraction", "channels"), [(64, 0.5, 30), (32, 0.5, 15), (12, 1.0, 12), (8, 0.2, 0)]
)
def test_channels(head_dim: int, fraction: float, channels: int) -> None:
    assert so3_channels(head_dim, fraction) == channels


def test_vectors_are_multiplied_by_the_transpose() -> None:
    tokens, rotation = torch.randn(2, 5, 8, dtype=torch.float64), random_rotation(2)
    got = so3_rotate(tokens, rotation, 6)
    for start in (0, 3):
        want = torch.einsum("bji,bnj->bni", rotation, tokens[..., start : start + 3])
        torch.testing.assert_close(got[..., start : start + 3], want)
    assert torch.equal(got[..., 6:], tokens[..., 6:])


def test_products_depend_on_the_relative_rotation_alone() -> None:
    """Another object frame, R -> R Q, leaves the products of turned vectors."""
    queries, keys, rotation = torch.randn(4, 5, 9).double(), torch.randn(4, 5, 9).double(), random_rotation(4)

    def products(frame: torch.Tensor) -> torch.Tensor:
        turned = (so3_rotate(part, rotation @ frame, 9).flatten(0, 1) for part in (queries, keys))
        return torch.einsum("id,jd->ij", *turned)

    straight = products(torch.eye(3).double())
    torch.testing.assert_close(products(random_rotation(1)[0]), straight)
    each_another = products(random_rotation(4))
    assert float((each_another - straight).abs().max()) > 0.1


def test_half_precision_keeps_its_type_and_float32_products() -> None:
    tokens, rotation = torch.randn(2, 5, 6).bfloat16(), random_rotation(2)
    with torch.autocast("cpu", torch.bfloat16):
        got = so3_rotate(tokens, rotation, 6)
    want = so3_rotate(tokens.float(), rotation, 6).bfloat16()
    assert got.dtype == torch.bfloat16
    assert torch.equal(got, want)


def test_errors() -> None:
    with pytest.raises(ValueError, match="a multiple of 3 from 0 to D=8; got 4"):
        so3_rotate(torch.zeros(2, 5, 8), torch.eye(3), 4)
    with pytest.raises(ValueError, match=r"`rotation` must be \[...,3,3\]"):
        so3_rotate(torch.zeros(2, 5, 8), torch.eye(4), 6)
