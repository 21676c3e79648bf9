"""Features of the same directions in two views: a correspondence table applied to token features.

Source: spec panorama 3.5.3 and 13.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from refkp._checks import fail, require_choice, require_same, require_shape
from refkp.systems.panorama.overlaps.correspondence import CorrespondenceTable, TokenBags

#: What one segment of `PairedTokens` holds.
Group = Literal["sample_pair", "pair", "position"]
GROUPS = ("sample_pair", "pair", "position")


class PairedTokens(NamedTuple):
    """Features of the same directions in two views: M rows in segments."""

    x: Tensor  # [M,D], tokens of A
    y: Tensor  # [M,D], tokens of B, row by row the partner of x
    offsets: Tensor  # int64 [G+1] on the CPU, segment g owns the rows offsets[g] to offsets[g+1]


def gather_pairs(
    features: Tensor,
    table: CorrespondenceTable,
    *,
    partner_features: Tensor | None = None,
    group: Group = "sample_pair",
) -> PairedTokens:
    """Apply a correspondence table to token features: x = F[index_a], y = sum_k weights_k F[taps_k].

    The backward pass sums each token's gradients in a fixed order, one bag a token, so it is bitwise
    repeatable on every device (`index_add_` on CUDA is not). Features in half precision are read as float32.

    Args:
        features: [B,V,S,D] floating, views and tokens as in `table`.
        table: T correspondences of P view pairs, on the device of `features`.
        partner_features: where y is read instead, like `features`.
        group: what a segment holds: one "sample_pair", a view pair of one sample (B*P segments, samples
            outside); one view "pair" of all samples (P segments); one "position", the same correspondence of
            all samples (T segments of B rows).

    Returns:
        float32 pairs (float64 for float64 features), M = B*T; gradients reach both features.
    """
    require_choice("gather_pairs", "group", group, GROUPS)
    require_shape("gather_pairs", "features", features, "B,V,S,D", V=table.num_views, S=table.num_tokens)
    if features.device != table.index_a.device:
        fail(
            "gather_pairs", "table", f"on the device of `features` ({features.device})", table.index_a.device
        )
    rows_a = rows_b = _token_rows(features)
    if partner_features is not None:
        sizes = dict(zip("BVSD", features.shape, strict=True))
        require_shape("gather_pairs", "partner_features", partner_features, "B,V,S,D", **sizes)
        require_same("gather_pairs", "partner_features", partner_features, "features", features)
        rows_b = _token_rows(partner_features)
    place, offsets = _places(table, len(features), group)
    weights = table.weights.to(rows_b.dtype)
    x = _GatherRows.apply(rows_a, *_batched(table.index_a[:, None], table.bags_a, None, place))
    y = _GatherRows.apply(rows_b, *_batched(table.taps_b, table.bags_b, weights, place))
    return PairedTokens(x, y, offsets)


def unit_pairs(pairs: PairedTokens) -> PairedTokens:
    """The same pairs with every feature of length one."""
    return PairedTokens(
        functional.normalize(pairs.x, dim=-1), functional.normalize(pairs.y, dim=-1), pairs.offsets
    )


def _token_rows(features: Tensor) -> Tensor:
    rows = features.reshape(-1, features.shape[-1])
    return rows if rows.dtype == torch.float64 else rows.float()


def _places(table: CorrespondenceTable, batch: int, group: Group) -> tuple[Tensor, Tensor]:
    """The row [B,T] of each correspondence of each sample, and the bounds of the segments."""
    count, device = table.index_a.numel(), table.index_a.device
    sample, row = torch.arange(batch, device=device)[:, None], torch.arange(count, device=device)
    if group == "position":
        return row * batch + sample, torch.arange(count + 1) * batch
    if group == "pair":
        starts, lengths = table.offsets[:-1].to(device), table.offsets.diff().to(device)
        pair = torch.repeat_interleave(lengths, output_size=count)
        return row + (batch - 1) * starts[pair] + sample * lengths[pair], table.offsets * batch
    ends = torch.arange(batch)[:, None] * count + table.offsets[1:]
    return row + sample * count, torch.cat((table.offsets[:1], ends.flatten()))


class _Taps(NamedTuple):
    """A gather of a whole batch and its transpose."""

    rows: Tensor  # int64 [M,K], to read
    weights: Tensor | None  # [M,K]; None stands for ones
    bags: Tensor  # int64 [M*K], rows of the result that read each row
    bag_weights: Tensor | None  # [M*K]
    starts: Tensor  # int64 [num_rows], where the bag of a row starts


def _batched(taps: Tensor, bags: TokenBags, weights: Tensor | None, place: Tensor) -> _Taps:
    """The taps [T,K] of one sample for all samples, whose correspondences go to the rows `place` [B,T]."""
    batch, (count, width), num_tokens = len(place), taps.shape, bags.starts.numel()
    sample = torch.arange(batch, device=taps.device)[:, None]
    flat = place.flatten()
    index = torch.empty(batch * count, width, dtype=torch.int64, device=taps.device)
    index[flat] = (taps + sample[..., None] * num_tokens).flatten(0, 1)
    source = place[:, bags.taps // width].flatten()
    starts = (bags.starts + sample * (count * width)).flatten()
    if weights is None:
        return _Taps(index, None, source, None, starts)
    spread = torch.empty_like(index, dtype=weights.dtype)
    spread[flat] = weights.repeat(batch, 1)
    return _Taps(index, spread, source, weights.flatten()[bags.taps].repeat(batch), starts)


class _GatherRows(torch.autograd.Function):
    """out_m = sum_k weights_mk rows[index_mk]; the backward pass is the transposed gather."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        index: Tensor,
        weights: Tensor | None,
        bags: Tensor,
        bag_weights: Tensor | None,
        starts: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(bags, bag_weights, starts)
        if weights is None:
            return rows.index_select(0, index[:, 0])
        return functional.embedding_bag(index, rows, mode="sum", per_sample_weights=weights)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        bags, weights, starts = ctx.saved_tensors
        grad_rows = functional.embedding_bag(
            bags, grad.contiguous(), starts, mode="sum", per_sample_weights=weights
        )
        return grad_rows, None, None, None, None, None
