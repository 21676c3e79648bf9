"""VICRegL: a plain loop as the judge, matches, the spherical form, errors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from refkp.ops import vicreg
from refkp.systems.panorama.losses import (
    RegionView,
    VICRegLOptions,
    multicrop_pairs,
    overlap_vicregl,
    vicregl,
)
from refkp.systems.panorama.overlaps.correspondence import correspondence_table, tile_token_directions
from refkp.systems.panorama.views.layout import ErpLayout


def _view(batch: int, tokens: int) -> RegionView:
    sizes = ((batch, 6), (batch, tokens, 4), (batch, tokens, 2))
    return RegionView(*(torch.randn(*size, dtype=torch.float64, requires_grad=True) for size in sizes))


def _plain_local(views: list[RegionView], pairs: list[tuple[int, int]], counts: tuple[int, int]) -> Tensor:
    """Every match searched by hand."""
    total = torch.zeros((), dtype=torch.float64)
    for a, b in pairs:
        for by in ("tokens", "location"):
            for source, target, count in ((a, b, counts[0]), (b, a, counts[1])):
                total = total + _plain_direction(views[source], views[target], by, count) / 2
    return total / len(pairs)


def _plain_direction(source: RegionView, target: RegionView, by: str, count: int) -> Tensor:
    ranked = []
    for sample in range(len(source.vector)):
        here, there = getattr(source, by)[sample], getattr(target, by)[sample]
        found = []
        for token in range(len(here)):
            distance = (there - here[token]).detach().norm(dim=-1)
            partner = int(distance.argmin())
            found.append((float(distance[partner]), token, partner))
        ranked.append([(token, partner) for _, token, partner in sorted(found)[:count]])
    losses = []
    for rank in range(len(ranked[0])):
        x = torch.stack([source.tokens[s, ranked[s][rank][0]] for s in range(len(ranked))])
        y = torch.stack([target.tokens[s, ranked[s][rank][1]] for s in range(len(ranked))])
        losses.append(vicreg(x, y, covariance="mean", backend="reference").total[0])
    return torch.stack(losses).mean()


@pytest.mark.parametrize("counts", [(3, 2), (20, 4)])
def test_local_term_against_a_plain_loop(counts: tuple[int, int]) -> None:
    views, pairs = [_view(3, 5), _view(3, 5), _view(3, 7)], multicrop_pairs(2, 1)
    loss = vicregl(views, pairs, VICRegLOptions(num_matches=counts))
    torch.testing.assert_close(loss.terms["local"], _plain_local(views, pairs, counts))
    torch.testing.assert_close(loss.total, 0.75 * loss.terms["global"] + 0.25 * loss.terms["local"])


def test_global_term_takes_statistics_over_the_views() -> None:
    views = [_view(4, 3) for _ in range(3)]
    got = vicregl(views, [(0, 1), (0, 2), (1, 0), (1, 2)]).terms["global"]
    vectors = [view.vector for view in views]
    invariance = (
        sum((vectors[a] - vectors[b]).square().mean() for a, b in [(0, 1), (0, 2), (1, 0), (1, 2)]) / 4
    )
    spread = torch.zeros((), dtype=torch.float64)
    for vector in vectors:
        deviation = (vector.var(0) + 1e-4).sqrt()
        covariance = torch.cov(vector.T)
        off = covariance.square().sum() - covariance.diagonal().square().sum()
        spread = spread + (25 * torch.relu(1 - deviation).mean() + off / 6) / 3
    torch.testing.assert_close(got, 25 * invariance + spread)


def test_gradients_reach_vectors_and_tokens_but_not_locations() -> None:
    views = [_view(3, 5), _view(3, 5)]
    vicregl(views, multicrop_pairs(2, 0)).total.backward()
    assert float(views[0].vector.grad.abs().sum()) > 0
    assert float(views[1].tokens.grad.abs().sum()) > 0
    assert views[0].location.grad is None


def test_of_equal_distances_the_first_token_counts() -> None:
    """On equal regular grids every token meets itself; the kept ones are the first."""
    location = torch.arange(4.0)[None, :, None].expand(2, 4, 1)
    tokens = torch.randn(2, 4, 3)
    views = [RegionView(torch.randn(2, 3), tokens, location), RegionView(torch.randn(2, 3), tokens, location)]
    moved = views[1]._replace(tokens=torch.cat((tokens[:, :2], torch.randn(2, 2, 3)), 1))
    by_location = VICRegLOptions(num_matches=(2, 2))
    first = vicregl(views, [(0, 1)], by_location).terms["local"]
    second = vicregl([views[0], moved], [(0, 1)], by_location).terms["local"]
    torch.testing.assert_close(first, second)


def test_overlap_vicregl_matches_directions() -> None:
    """Features that depend on the direction alone: the partner by feature is the partner by place."""
    layout = ErpLayout.build()
    table = correspondence_table(layout, (5, 5))
    features = torch.cat((torch.zeros(1, 25, 3), tile_token_directions(layout, (5, 5)).float()))
    batch = torch.stack((features, 2 * features))
    options = VICRegLOptions(alpha=0.0, num_matches=(8, 8))
    aligned = overlap_vicregl(batch, layout, table, options)
    shuffled = overlap_vicregl(batch[:, :, torch.randperm(25)], layout, table, options)
    assert float(aligned.total) < float(shuffled.total)
    assert aligned.loss_path == "vicregl"


def test_errors() -> None:
    views = [_view(3, 5), _view(3, 5)]
    with pytest.raises(ValueError, match="pairs"):
        vicregl(views, [])
    with pytest.raises(ValueError, match="two samples; got 1"):
        vicregl([_view(1, 5), _view(1, 5)], [(0, 1)])
    with pytest.raises(ValueError, match="B=3"):
        vicregl([views[0], _view(2, 5)], [(0, 1)])
    with pytest.raises(ValueError, match="num_matches"):
        VICRegLOptions(num_matches=(0, 4))
    with pytest.raises(ValueError, match="alpha"):
        VICRegLOptions(alpha=1.5)
