"""The heads of the first revision; the golden cases pin their numbers."""

from __future__ import annotations

import torch

from refkp.systems.pose.model.pairs import pairs_from_labels
from refkp.systems.pose.model.tokens import Tokens
from refkp.verify.originals.seed_heads import SeedClassificationHead, SeedFlowHead


def test_lazy_pairs_equal_rows_of_all_pairs() -> None:
    head, tokens = SeedFlowHead(6, (8, 5), 3), Tokens(torch.randn(2, 4, 6), torch.randn(2, 3, 4, 6))
    pairs, dense = pairs_from_labels(torch.randint(-1, 5, (2, 3, 4)), 4), head.all_pairs(tokens)
    assert dense.flow.shape == (2, 3, 4, 4, 3, 3, 2)
    lazy = head(tokens, pairs)
    rows = (pairs.b, pairs.s, pairs.query, pairs.template)
    torch.testing.assert_close(lazy.flow, dense.flow[rows])
    torch.testing.assert_close(lazy.confidence, dense.confidence[rows])
    assert 0 < float(lazy.confidence.detach().min()) < float(lazy.confidence.detach().max()) < 1


def test_temperature_one_saturates() -> None:
    """No class of 197 can get more than e / (e + 196 / e) of the probability: why the head was replaced."""
    head, tokens = SeedClassificationHead(6, 8, 8), Tokens(torch.randn(1, 196, 6), torch.randn(1, 1, 197, 6))
    assert float(head(tokens).softmax(-1).detach().max()) <= 2.7183 / (2.7183 + 196 / 2.7183)
