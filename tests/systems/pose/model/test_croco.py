"""The encoder of CroCo; their numbers are pinned by the golden cases."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from refkp.systems.pose.model.croco import CrocoEncoder
from refkp.systems.pose.model.spec import EncoderSpec

SPEC = EncoderSpec(dim=16, depth=2, heads=2, patch_size=4, image_size=16)


def test_tokens_run_row_after_row() -> None:
    """A changed patch changes its own token before the first block."""
    encoder, images = CrocoEncoder(SPEC), torch.zeros(1, 3, 12, 20)
    images[..., 4:8, 8:12] = 1.0  # row 1 of 3, column 2 of 5
    tokens = next(encoder.block_outputs(images))
    assert (tokens != encoder.patch_embed.proj.bias).any(-1).nonzero()[:, 1].tolist() == [7]


def test_every_patch_reads_every_patch_and_its_place() -> None:
    encoder, images = CrocoEncoder(SPEC), torch.rand(2, 3, 16, 16)
    other = images.clone()
    other[..., :4, :4] = 0
    assert not torch.isclose(encoder(images), encoder(other), rtol=0, atol=1e-7).all(-1).any()
    moved = images.roll(4, -1)  # whole patches: the same tokens, each somewhere else

    def rolled_back(tokens: Tensor) -> Tensor:
        return tokens.unflatten(1, (4, 4)).roll(-1, 2).flatten(1, 2)

    embedded = next(encoder.block_outputs(images))
    torch.testing.assert_close(rolled_back(next(encoder.block_outputs(moved))), embedded)
    assert not torch.allclose(rolled_back(encoder(moved)), encoder(images), atol=1e-4)


def test_images_are_encoded_one_by_one() -> None:
    encoder, images = CrocoEncoder(SPEC), torch.rand(3, 3, 16, 16)
    torch.testing.assert_close(encoder(images)[1:2], encoder(images[1:2]))


def test_float64_is_computed_in_float64() -> None:
    encoder, images = CrocoEncoder(SPEC), torch.rand(1, 3, 16, 16)
    exact = encoder.double()(images.double())
    assert exact.dtype == torch.float64
    torch.testing.assert_close(encoder.float()(images).double(), exact, atol=1e-5, rtol=0)


def test_gradients_reach_every_parameter() -> None:
    encoder = CrocoEncoder(SPEC)
    encoder(torch.rand(2, 3, 16, 16)).square().sum().backward()
    assert [name for name, parameter in encoder.named_parameters() if parameter.grad is None] == []


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"of sides that 4 divides; got \(16, 18\)"):
        CrocoEncoder(SPEC)(torch.zeros(1, 3, 16, 18))
    with pytest.raises(ValueError, match=r"`images` must be \[B,3,H,W\]"):
        CrocoEncoder(replace(SPEC, depth=1))(torch.zeros(1, 1, 16, 16))
