"""Pairs of patches that the flow head looks at: never all of them, only those that match."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from refkp._checks import fail, require_input


class PatchPairs(NamedTuple):
    """M pairs of a query patch and a template patch."""

    b: Tensor  # int64 [M], which object
    s: Tensor  # int64 [M], which of its templates
    query: Tensor  # int64 [M], query patch in 0..N-1
    template: Tensor  # int64 [M], template patch in 0..N-1


def pairs_from_labels(labels: Tensor, num_patches: int) -> PatchPairs:
    """The pairs of patches that match, ordered by object, template and query patch.

    Args:
        labels: int64 [B,S,N]: the template patch 0..N-1; -1 (ignored) and N (not seen) give no pair.
        num_patches: N of the templates.

    Raises:
        ValueError: a label outside -1..N.

    >>> pairs_from_labels(torch.tensor([[[1, -1], [2, 0]]]), 2)
    PatchPairs(b=tensor([0, 0]), s=tensor([0, 1]), query=tensor([0, 1]), template=tensor([1, 0]))
    """
    require_input("pairs_from_labels", "labels", labels, "B,S,N", (torch.int64,))
    if labels.numel() and not -1 <= int(labels.min()) <= int(labels.max()) <= num_patches:
        got = f"{int(labels.min())}..{int(labels.max())}"
        fail("pairs_from_labels", "labels", f"in -1..{num_patches}", got)
    b, s, query = ((labels >= 0) & (labels < num_patches)).nonzero().unbind(-1)
    return PatchPairs(b, s, query, labels[b, s, query])
