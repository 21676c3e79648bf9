"""Gathering paired features: groups, gradients, determinism, errors."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from refkp.systems.panorama.overlaps.correspondence import correspondence_table
from refkp.systems.panorama.overlaps.gather import gather_pairs, unit_pairs
from refkp.systems.panorama.views.layout import ErpLayout

LAYOUT = ErpLayout.build()
GRID = (14, 14)
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def test_gradcheck() -> None:
    table = correspondence_table(LAYOUT, (4, 4))
    features = torch.randn(2, 9, 16, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda f: gather_pairs(f, table)[:2], features)


@pytest.mark.parametrize("device", DEVICES)
def test_backward_is_bitwise_repeatable(device: str) -> None:
    table = correspondence_table(LAYOUT, GRID, device=device)
    features = torch.randn(2, 9, 196, 32, device=device, requires_grad=True)
    x, y, _ = gather_pairs(features, table)
    cotangent = torch.randn_like(y)
    grads = [
        torch.autograd.grad((x, y), features, (cotangent, cotangent), retain_graph=True)[0] for _ in range(3)
    ]
    assert torch.equal(grads[0], grads[1])
    assert torch.equal(grads[0], grads[2])


def test_offsets_of_a_batch_follow_the_samples() -> None:
    table = correspondence_table(LAYOUT, GRID)
    features = torch.randn(3, 9, 196, 4)
    x, _, offsets = gather_pairs(features, table)
    assert offsets.numel() == 3 * 16 + 1
    assert int(offsets[-1]) == len(x)
    alone, _, _ = gather_pairs(features[2:], table)
    torch.testing.assert_close(x[int(offsets[32]) :], alone)


def test_half_precision_is_read_as_float32() -> None:
    table = correspondence_table(LAYOUT, GRID)
    pairs = gather_pairs(torch.randn(1, 9, 196, 4, dtype=torch.bfloat16), table)
    assert pairs.x.dtype == pairs.y.dtype == torch.float32


@pytest.mark.parametrize("group", ["sample_pair", "pair", "position"])
def test_a_plain_gather_gives_the_same_values_and_gradients(group: str) -> None:
    table = correspondence_table(LAYOUT, (5, 5))
    features = torch.randn(3, 9, 25, 4, dtype=torch.float64, requires_grad=True)
    tokens = features.flatten(1, 2)
    x = tokens[:, table.index_a]
    y = (tokens[:, table.taps_b] * table.weights.double()[..., None]).sum(2)
    pairs = gather_pairs(features, table, group=group)
    order = _order(table.offsets.tolist(), 3, group)
    torch.testing.assert_close(pairs.x, x.flatten(0, 1)[order])
    torch.testing.assert_close(pairs.y, y.flatten(0, 1)[order])
    weights = torch.randn_like(pairs.x), torch.randn_like(pairs.y)
    (got,) = torch.autograd.grad([*pairs[:2]], features, weights)
    (want,) = torch.autograd.grad([z.flatten(0, 1)[order] for z in (x, y)], features, weights)
    torch.testing.assert_close(got, want)


def _order(offsets: list[int], batch: int, group: str) -> list[int]:
    """Rows b * T + t in the order of the group, spelled out."""
    count = offsets[-1]
    if group == "sample_pair":
        return list(range(batch * count))
    if group == "position":
        return [b * count + t for t in range(count) for b in range(batch)]
    return [
        b * count + t for start, end in pairwise(offsets) for b in range(batch) for t in range(start, end)
    ]


def test_offsets_bound_the_groups() -> None:
    table = correspondence_table(LAYOUT, (5, 5))
    features = torch.randn(3, 9, 25, 4)
    per_pair = gather_pairs(features, table, group="pair").offsets
    assert per_pair.tolist() == (3 * table.offsets).tolist()
    per_position = gather_pairs(features, table, group="position").offsets
    assert set(per_position.diff().tolist()) == {3}
    assert len(per_position) == table.index_a.numel() + 1


def test_partner_features_are_where_y_is_read() -> None:
    table = correspondence_table(LAYOUT, (5, 5))
    one, other = torch.randn(2, 2, 9, 25, 4).unbind()
    mixed = gather_pairs(one, table, partner_features=other)
    assert torch.equal(mixed.x, gather_pairs(one, table).x)
    assert torch.equal(mixed.y, gather_pairs(other, table).y)


def test_unit_pairs() -> None:
    pairs = unit_pairs(gather_pairs(torch.randn(1, 9, 25, 4), correspondence_table(LAYOUT, (5, 5))))
    torch.testing.assert_close(pairs.y.norm(dim=-1), torch.ones(len(pairs.y)))


def test_errors() -> None:
    table = correspondence_table(LAYOUT, GRID)
    with pytest.raises(ValueError, match=r"\[B,V,S,D\] with V=9, S=196"):
        gather_pairs(torch.zeros(1, 8, 196, 4), table)
    with pytest.raises(ValueError, match="S=196"):
        gather_pairs(torch.zeros(1, 9, 64, 4), table)
    with pytest.raises(ValueError, match="group"):
        gather_pairs(torch.zeros(1, 9, 196, 4), table, group="view")
    with pytest.raises(ValueError, match="B=1"):
        gather_pairs(torch.zeros(1, 9, 196, 4), table, partner_features=torch.zeros(2, 9, 196, 4))
