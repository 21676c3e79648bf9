"""Contrastive losses: values against cross entropies written out, streaming, gradients, errors."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from refkp.systems.panorama.losses import densecl, info_nce, pano_contrastive
from refkp.systems.panorama.overlaps.correspondence import correspondence_table, tile_token_directions
from refkp.systems.panorama.overlaps.gather import gather_pairs, unit_pairs
from refkp.systems.panorama.views.layout import ErpLayout

OFFSETS = torch.tensor([0, 5, 5, 12, 13])


def _written_out(queries: Tensor, keys: Tensor, offsets: list[int], temperature: float) -> Tensor:
    losses = []
    for start, end in pairwise(offsets):
        logits = queries[start:end] @ keys[start:end].T / temperature
        for row in range(end - start):
            for line in (logits[row], logits[:, row]):
                losses.append(torch.logsumexp(line, 0) - logits[row, row])
    return torch.stack(losses).mean()


@pytest.mark.parametrize("chunk", [None, 1, 3, 100])
def test_info_nce_is_the_mean_of_two_cross_entropies(chunk: int | None) -> None:
    queries, keys = torch.randn(2, 13, 4, dtype=torch.float64).unbind()
    got = info_nce(queries, keys, OFFSETS, temperature=0.3, chunk=chunk)
    torch.testing.assert_close(got, _written_out(queries, keys, OFFSETS.tolist(), 0.3))
    whole = info_nce(queries, keys, temperature=0.3, chunk=chunk)
    torch.testing.assert_close(whole, _written_out(queries, keys, [0, 13], 0.3))


@pytest.mark.parametrize("chunk", [None, 3])
def test_gradcheck(chunk: int | None) -> None:
    queries, keys = torch.randn(2, 13, 2, dtype=torch.float64).unbind()
    assert torch.autograd.gradcheck(
        lambda q, k: info_nce(q, k, OFFSETS, temperature=0.5, chunk=chunk),
        (queries.requires_grad_(), keys.requires_grad_()),
    )


def test_streaming_survives_logits_that_overflow_exp() -> None:
    queries = 40 * functional.normalize(torch.randn(9, 4), dim=-1)
    streamed = info_nce(queries, queries, temperature=0.1, chunk=2)
    torch.testing.assert_close(streamed, info_nce(queries, queries, temperature=0.1))
    assert bool(torch.isfinite(streamed))


def test_streaming_keeps_only_a_chunk_of_logits_for_the_backward_pass() -> None:
    queries, keys = torch.randn(2, 300, 4).unbind()
    queries.requires_grad_()
    sizes: list[int] = []

    def note(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        info_nce(queries, keys, chunk=10)
    assert max(sizes) <= queries.numel()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        info_nce(queries, keys)
    assert max(sizes) >= 300 * 300


def test_densecl_prefers_features_that_depend_on_the_direction() -> None:
    layout = ErpLayout.build()
    table = correspondence_table(layout, (6, 6))
    directions = tile_token_directions(layout, (6, 6)).float()
    by_direction = torch.cat((torch.zeros(1, 36, 3), directions))[None]
    by_position = torch.randn(1, 1, 36, 3).expand(1, 9, 36, 3)
    good, bad = (
        densecl(gather_pairs(f, table, group="pair")).total.item() for f in (by_direction, by_position)
    )
    assert good < 0.6 * bad


def test_densecl_candidates_are_the_same_pair_of_views_in_all_samples() -> None:
    table = correspondence_table(ErpLayout.build(), (4, 4))
    features = torch.randn(2, 9, 16, 5, dtype=torch.float64)
    pairs = gather_pairs(features, table, group="pair")
    unit = unit_pairs(pairs)
    want = _written_out(unit.x, unit.y, pairs.offsets.tolist(), 0.07)
    loss = densecl(pairs)
    torch.testing.assert_close(loss.total, want)
    assert loss.loss_path == "densecl"


def test_pano_contrastive_adds_the_loss_within_the_views() -> None:
    table = correspondence_table(ErpLayout.build(), (4, 4))
    one, other = functional.normalize(torch.randn(2, 2, 9, 16, 5, dtype=torch.float64), dim=-1).unbind()
    pairs = unit_pairs(gather_pairs(one, table, partner_features=other, group="pair"))
    loss = pano_contrastive(
        pairs, one.flatten(0, 1), other.flatten(0, 1), tile_weight=0.5, tile_temperature=0.3
    )
    views = list(range(0, 18 * 16 + 1, 16))
    torch.testing.assert_close(
        loss.terms["tile"], _written_out(one.reshape(-1, 5), other.reshape(-1, 5), views, 0.3)
    )
    torch.testing.assert_close(
        loss.terms["overlap"], _written_out(pairs.x, pairs.y, pairs.offsets.tolist(), 0.07)
    )
    torch.testing.assert_close(loss.total, loss.terms["overlap"] + 0.5 * loss.terms["tile"])


def test_errors() -> None:
    x = torch.randn(4, 3)
    with pytest.raises(ValueError, match="temperature"):
        info_nce(x, x, temperature=0.0)
    with pytest.raises(ValueError, match="chunk"):
        info_nce(x, x, chunk=0)
    with pytest.raises(ValueError, match="M=4"):
        info_nce(x, x[:3])
    with pytest.raises(ValueError, match="V=4"):
        pano_contrastive(None, x[None].expand(4, 4, 3), x[None])  # type: ignore[arg-type]
