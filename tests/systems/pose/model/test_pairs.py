"""Pairs of patches from labels."""

from __future__ import annotations

import pytest
import torch

from refkp.systems.pose.model.pairs import pairs_from_labels


def test_order_and_what_is_left_out() -> None:
    labels = torch.randint(-1, 6, (2, 3, 5))
    want = [
        (b, s, q, int(labels[b, s, q]))
        for b in range(2)
        for s in range(3)
        for q in range(5)
        if 0 <= labels[b, s, q] < 5
    ]
    assert list(zip(*(index.tolist() for index in pairs_from_labels(labels, 5)), strict=True)) == want


def test_no_pair() -> None:
    pairs = pairs_from_labels(torch.full((2, 3, 5), -1), 5)
    assert [index.shape for index in pairs] == [(0,)] * 4


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"`labels` must be in -1\.\.5; got -1\.\.6"):
        pairs_from_labels(torch.tensor([[[6, -1]]]), 5)
    with pytest.raises(ValueError, match=r"\[B,S,N\]"):
        pairs_from_labels(torch.zeros(3, 5, dtype=torch.int64), 5)
    with pytest.raises(ValueError, match="int64"):
        pairs_from_labels(torch.zeros(1, 3, 5), 5)
