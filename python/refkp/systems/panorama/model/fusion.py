"""Vision tokens in the place of the placeholder of a text. Source: spec panorama 4.1, golden `language_fuse`."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from refkp._checks import fail, require_choice, require_shape
from refkp.systems.panorama.tokenizer import IGNORE


class FusedSequence(NamedTuple):
    """Text and vision in one sequence, padded on the right."""

    inputs_embeds: Tensor  # [B,N,D], zero where padded
    attention_mask: Tensor  # int64 [B,N], 1 at vision tokens, 0 where padded
    labels: Tensor | None  # int64 [B,N], -100 at vision tokens and where padded


def language_fuse(
    input_ids: Tensor,
    text_embeds: Tensor,
    vision_tokens: Tensor,
    vision_id: int,
    *,
    attention_mask: Tensor | None = None,
    pad_id: int | None = None,
    labels: Tensor | None = None,
    missing: Literal["error", "prefix", "suffix"] = "error",
) -> FusedSequence:
    """Put the vision tokens of each sample where its first placeholder stands.

    Every placeholder is taken out, so several collapse into the first. The rest of the row keeps its order,
    its padding included. N is T + L - n with the fewest placeholders n of any row; rows with more are padded.

    Args:
        input_ids: int64 [B,L].
        text_embeds: [B,L,D], their embeddings; those of placeholders are not read.
        vision_tokens: [B,T,D].
        vision_id: the id of the placeholder.
        attention_mask: int64 [B,L], of the text; None: 1 where the id is not `pad_id`.
        pad_id: the id of the padding, read without `attention_mask` alone.
        labels: int64 [B,L], of the text.
        missing: what a row without a placeholder means: an error, or vision tokens before ("prefix") or after
            ("suffix") the whole padded row.

    Returns:
        The fused sequences; gradients reach `text_embeds` and `vision_tokens`.

    Raises:
        ValueError: a row without placeholder unless `missing` allows it, shapes that disagree.
    """
    require_choice("language_fuse", "missing", missing, ("error", "prefix", "suffix"))
    require_shape("language_fuse", "input_ids", input_ids, "B,L")
    batch, length = input_ids.shape
    require_shape("language_fuse", "text_embeds", text_embeds, "B,L,D", B=batch, L=length)
    dim = text_embeds.shape[-1]
    require_shape("language_fuse", "vision_tokens", vision_tokens, "B,T,D", B=batch, D=dim)
    if attention_mask is None:
        if pad_id is None:
            fail("language_fuse", "attention_mask", "given where `pad_id` is not", None)
        attention_mask = (input_ids != pad_id).long()
    require_shape("language_fuse", "attention_mask", attention_mask, "B,L", B=batch, L=length)
    placeholder = input_ids == vision_id
    if missing == "error":
        _require_placeholder(placeholder)
    source, is_vision = _sources(placeholder, vision_tokens.shape[1], missing)
    # Row 0 of the pool is the padding, then the vision tokens, then the text.
    pool = torch.cat(
        (text_embeds.new_zeros(batch, 1, dim), vision_tokens.to(text_embeds.dtype), text_embeds), 1
    )
    embeds = pool.gather(1, source[..., None].expand(-1, -1, dim))
    mask = _fuse_row(attention_mask, source, vision_tokens.shape[1], padding=0).masked_fill(is_vision, 1)
    if labels is not None:
        require_shape("language_fuse", "labels", labels, "B,L", B=batch, L=length)
        labels = _fuse_row(labels, source, vision_tokens.shape[1], padding=IGNORE)
    return FusedSequence(embeds, mask, labels)


def pad_left(fused: FusedSequence) -> FusedSequence:
    """The same sequences without labels and with every position of attention 0 moved to the front, for generation."""
    order = fused.attention_mask.argsort(dim=1, stable=True)
    embeds = fused.inputs_embeds.gather(1, order[..., None].expand_as(fused.inputs_embeds))
    return FusedSequence(embeds, fused.attention_mask.gather(1, order), None)


def _require_placeholder(placeholder: Tensor) -> None:
    without = (~placeholder.any(1)).nonzero()[:, 0].tolist()
    if without:
        remedy = "Write the placeholder into the prompt, or choose `missing` 'prefix' or 'suffix'."
        fail("language_fuse", "input_ids", "rows with the vision placeholder", f"none in {without}", remedy)


def _sources(placeholder: Tensor, num_vision: int, missing: str) -> tuple[Tensor, Tensor]:
    """Where each fused position [B,N] comes from in the pool (padding, vision, text), and which are vision."""
    batch, length = placeholder.shape
    count = placeholder.sum(1)
    first = placeholder.long().argmax(1)
    first = torch.where(count > 0, first, length if missing == "suffix" else 0)
    total = num_vision + length - int(count.min()) if batch else num_vision + length
    position = torch.arange(total, device=placeholder.device).expand(batch, total)
    start = first[:, None]
    is_vision = (position >= start) & (position < start + num_vision)
    # The text without placeholders in its order: kept[b,k] is the k-th position of row b that stays.
    kept = placeholder.long().argsort(dim=1, stable=True)
    rank = torch.where(position < start, position, position - num_vision)
    is_text = ~is_vision & (rank < (length - count)[:, None])
    text = 1 + num_vision + kept.gather(1, rank.clamp(0, length - 1))
    source = torch.where(is_vision, 1 + position - start, torch.where(is_text, text, 0))
    return source, is_vision


def _fuse_row(row: Tensor, source: Tensor, num_vision: int, padding: int) -> Tensor:
    """Text values [B,L] at the fused positions, `padding` at all others."""
    filler = row.new_full((row.shape[0], 1 + num_vision), padding)
    return torch.cat((filler, row), 1).gather(1, source)
