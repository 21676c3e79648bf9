"""Vision tokens in the place of the placeholder, against a loop over tokens."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from refkp.systems.panorama.model.fusion import FusedSequence, language_fuse, pad_left
from refkp.systems.panorama.tokenizer import IGNORE

VISION_ID = 3


def fuse_slowly(
    ids: Tensor, embeds: Tensor, vision: Tensor, mask: Tensor, labels: Tensor, missing: str
) -> FusedSequence:
    """Token by token."""
    length = ids.shape[1]
    rows = []
    for row in range(len(ids)):
        places = [i for i in range(length) if ids[row, i] == VISION_ID]
        where = places[0] if places else (0 if missing == "prefix" else length)
        tokens: list[tuple[Tensor, int, int]] = []
        for i in range(length + 1):
            if i == where:
                tokens += [(token, 1, IGNORE) for token in vision[row]]
            if i < length and i not in places:
                tokens.append((embeds[row, i], int(mask[row, i]), int(labels[row, i])))
        rows.append(tokens)
    longest = max(map(len, rows))
    padding = (torch.zeros_like(embeds[0, 0]), 0, IGNORE)
    rows = [tokens + [padding] * (longest - len(tokens)) for tokens in rows]
    return FusedSequence(
        torch.stack([torch.stack([token for token, _, _ in tokens]) for tokens in rows]),
        torch.tensor([[attention for _, attention, _ in tokens] for tokens in rows]),
        torch.tensor([[label for _, _, label in tokens] for tokens in rows]),
    )


@pytest.mark.parametrize("missing", ["prefix", "suffix"])
@pytest.mark.parametrize("seed", range(20))
def test_against_the_loop(seed: int, missing: str) -> None:
    """Rows with no, one and several placeholders, also next to each other and at the ends."""
    generator = torch.Generator().manual_seed(seed)
    batch, length, num_vision = (int(n) for n in torch.randint(1, 7, (3,), generator=generator))
    ids = torch.randint(0, 5, (batch, length), generator=generator)
    embeds = torch.randn(batch, length, 2, generator=generator)
    vision = torch.randn(batch, num_vision, 2, generator=generator)
    mask = torch.randint(0, 2, (batch, length), generator=generator)
    labels = torch.randint(0, 9, (batch, length), generator=generator)
    fused = language_fuse(
        ids,
        embeds,
        vision,
        VISION_ID,
        attention_mask=mask,
        labels=labels,
        missing=missing,  # type: ignore[arg-type]
    )
    for ours, want in zip(fused, fuse_slowly(ids, embeds, vision, mask, labels, missing), strict=True):
        assert ours is not None
        assert want is not None
        assert torch.equal(ours, want)


def test_without_mask_and_labels() -> None:
    ids = torch.tensor([[1, VISION_ID, 2, 0]])
    fused = language_fuse(ids, torch.rand(1, 4, 2), torch.rand(1, 2, 2), VISION_ID, pad_id=0)
    assert fused.attention_mask.tolist() == [[1, 1, 1, 1, 0]]
    assert fused.labels is None


def test_gradients_reach_text_and_vision() -> None:
    ids = torch.tensor([[1, VISION_ID, VISION_ID, 2], [VISION_ID, 1, 1, 2]])
    embeds = torch.rand(2, 4, 3, requires_grad=True)
    vision = torch.rand(2, 2, 3, requires_grad=True)
    language_fuse(ids, embeds, vision, VISION_ID, pad_id=0).inputs_embeds.sum().backward()
    assert vision.grad is not None
    assert embeds.grad is not None
    assert torch.equal(vision.grad, torch.ones(2, 2, 3))
    assert torch.equal(embeds.grad[..., 0], (ids != VISION_ID).float())


def test_pad_left_keeps_the_order() -> None:
    embeds = torch.arange(8.0).view(2, 4, 1)
    fused = FusedSequence(embeds, torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]]), None)
    padded = pad_left(fused)
    assert padded.attention_mask.tolist() == [[0, 0, 1, 1], [1, 1, 1, 1]]
    assert padded.inputs_embeds[..., 0].tolist() == [[2, 3, 0, 1], [4, 5, 6, 7]]


def test_errors() -> None:
    ids, embeds, vision = torch.tensor([[1, VISION_ID], [1, 2]]), torch.rand(2, 2, 3), torch.rand(2, 4, 3)
    with pytest.raises(ValueError, match=r"rows with the vision placeholder; got none in \[1\]"):
        language_fuse(ids, embeds, vision, VISION_ID, pad_id=0)
    with pytest.raises(ValueError, match="`attention_mask` must be given where `pad_id` is not"):
        language_fuse(ids, embeds, vision, VISION_ID, missing="prefix")
    with pytest.raises(ValueError, match=r"`vision_tokens` must be \[B,T,D\] with B=2, D=3"):
        language_fuse(ids, embeds, vision[:1], VISION_ID, pad_id=0, missing="prefix")
    with pytest.raises(ValueError, match=r"`labels` must be \[B,L\] with B=2, L=2"):
        language_fuse(ids, embeds, vision, VISION_ID, pad_id=0, missing="prefix", labels=ids[:, :1])
    with pytest.raises(ValueError, match="`missing` must be one of"):
        language_fuse(ids, embeds, vision, VISION_ID, pad_id=0, missing="drop")  # type: ignore[arg-type]
