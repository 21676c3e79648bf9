"""Contrastive losses on paired tokens: the partner must be more similar than every other candidate.

Source: spec panorama 3.7.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from refkp._checks import fail, require_input, require_same, require_shape
from refkp.systems.panorama.losses.terms import LossTerms
from refkp.systems.panorama.overlaps.gather import PairedTokens, unit_pairs

_IGNORED = -100  # target of a padded row


def densecl(pairs: PairedTokens, *, temperature: float = 0.07, chunk: int | None = None) -> LossTerms:
    """DenseCL on paired tokens: symmetric InfoNCE of their cosines.

    Args:
        pairs: of `gather_pairs` or `strip_pairs` with group "pair", so that the candidates of a token are the
            tokens of the same pair of views in all samples.
        temperature, chunk: as in `info_nce`.

    Returns:
        One scalar; gradients reach both sides.
    """
    x, y, offsets = unit_pairs(pairs)
    total = info_nce(x, y, offsets, temperature=temperature, chunk=chunk)
    return LossTerms(total, {"contrast": total}, "densecl")


def pano_contrastive(
    pairs: PairedTokens,
    tokens: Tensor,
    tokens_again: Tensor,
    *,
    temperature: float = 0.07,
    tile_temperature: float = 0.2,
    tile_weight: float = 0.1,
    chunk: int | None = None,
) -> LossTerms:
    """InfoNCE between views, plus InfoNCE within each view between two dropout samples of its tokens.

    total = overlap + tile_weight * tile. Nothing is normalised here.

    Args:
        pairs: unit features in group "pair", x read from one dropout sample and y from the other.
        tokens, tokens_again: [V,S,D] the two dropout samples, of unit length; token s of one must find token
            s of the other among the S tokens of its view.
        temperature, tile_temperature: of the two terms.
        chunk: as in `info_nce`.

    Returns:
        Scalars; gradients reach all four tensors.
    """
    require_shape("pano_contrastive", "tokens", tokens, "V,S,D")
    sizes = dict(zip("VSD", tokens.shape, strict=True))
    require_shape("pano_contrastive", "tokens_again", tokens_again, "V,S,D", **sizes)
    overlap = info_nce(*pairs, temperature=temperature, chunk=chunk)
    views = torch.arange(tokens.shape[0] + 1) * tokens.shape[1]
    tile = info_nce(
        tokens.flatten(0, 1), tokens_again.flatten(0, 1), views, temperature=tile_temperature, chunk=chunk
    )
    terms = {"overlap": overlap, "tile": tile}
    return LossTerms(overlap + tile_weight * tile, terms, "pano_contrastive")


def info_nce(
    queries: Tensor,
    keys: Tensor,
    offsets: Tensor | None = None,
    *,
    temperature: float = 0.07,
    chunk: int | None = None,
) -> Tensor:
    """Symmetric InfoNCE in segments: row t of `queries` belongs to row t of `keys`.

    With logits l = q k^T / temperature inside a segment::

        loss = mean over all rows t of (logsumexp(l_t.) + logsumexp(l_.t)) / 2 - l_tt

    With `chunk` only so many rows of logits are held at a time; the backward pass computes them anew.

    Args:
        queries, keys: [M,D] floating; not normalised here.
        offsets: int64 [G+1] on the CPU, bounds of the segments; None: all rows are one.
        temperature: above 0.
        chunk: rows of the logits to hold; None holds those of all segments, padded to the longest.

    Returns:
        A scalar; gradients reach `queries` and `keys` (once, with `chunk`).
    """
    require_input("info_nce", "queries", queries, "M,D")
    require_input("info_nce", "keys", keys, "M,D", M=queries.shape[0], D=queries.shape[1])
    require_same("info_nce", "keys", keys, "queries", queries)
    if not temperature > 0:
        fail("info_nce", "temperature", "above 0", temperature)
    if chunk is not None and chunk < 1:
        fail("info_nce", "chunk", "at least 1", chunk)
    bounds = [0, queries.shape[0]] if offsets is None else offsets.tolist()
    if chunk is not None:
        return _StreamedInfoNCE.apply(queries, keys, bounds, temperature, chunk)
    return _batched_info_nce(queries, keys, bounds, temperature)


def _batched_info_nce(queries: Tensor, keys: Tensor, bounds: list[int], temperature: float) -> Tensor:
    """Both cross entropies over [G,N,N] logits; padding is no candidate and has no loss."""
    lengths = [end - start for start, end in pairwise(bounds)]
    q, k = (pad_sequence(list(rows.split(lengths)), batch_first=True) for rows in (queries, keys))
    logits = q @ k.mT / temperature
    place = torch.arange(max(lengths), device=q.device)
    padding = place >= torch.tensor(lengths, device=q.device)[:, None]
    target = torch.where(padding, _IGNORED, place).flatten()
    losses = [
        functional.cross_entropy(
            side.masked_fill(padding[:, None], -torch.inf).flatten(0, 1), target, ignore_index=_IGNORED
        )
        for side in (logits, logits.mT)
    ]
    return (losses[0] + losses[1]) / 2


class _StreamedInfoNCE(torch.autograd.Function):
    """Keeps the two logarithms of sums of every row; logits live for one chunk."""

    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, keys: Tensor, bounds: list[int], temperature: float, chunk: int
    ) -> Tensor:
        ctx.options = bounds, temperature, chunk
        by_query, partner = queries.new_empty(2, queries.shape[0]).unbind()
        by_key = torch.full_like(by_query, -torch.inf)
        for rows, segment in _chunks(bounds, chunk):
            logits = queries[rows] @ keys[segment].mT / temperature
            by_query[rows] = logits.logsumexp(1)
            by_key[segment] = torch.logaddexp(by_key[segment], logits.logsumexp(0))
            partner[rows] = logits.diagonal(rows.start - segment.start)
        ctx.save_for_backward(queries, keys, by_query, by_key)
        return ((by_query + by_key) / 2 - partner).mean()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        queries, keys, by_query, by_key = ctx.saved_tensors
        bounds, temperature, chunk = ctx.options
        grad_queries, grad_keys = -keys, -queries
        for rows, segment in _chunks(bounds, chunk):
            logits = queries[rows] @ keys[segment].mT / temperature
            share = ((logits - by_query[rows, None]).exp() + (logits - by_key[segment]).exp()) / 2
            grad_queries[rows] += share @ keys[segment]
            grad_keys[segment] += share.mT @ queries[rows]
        scale = grad / (temperature * queries.shape[0])
        return scale * grad_queries, scale * grad_keys, None, None, None


def _chunks(bounds: list[int], chunk: int) -> list[tuple[slice, slice]]:
    """(rows of one block of logits, their segment)."""
    return [
        (slice(row, min(row + chunk, end)), slice(start, end))
        for start, end in pairwise(bounds)
        for row in range(start, end, chunk)
    ]
