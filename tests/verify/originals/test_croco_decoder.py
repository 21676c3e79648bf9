"""The decoder of CroCo and its attention between views; the golden cases pin their numbers."""

from __future__ import annotations

import pytest
import torch

from refkp.verify.originals.croco_decoder import CrocoDecoder, CrossAttention
from tests.nn.test_attention import doubled, one_head


def test_cross_attention() -> None:
    module, tokens, memory = CrossAttention(4, 1), torch.randn(2, 5, 4), torch.randn(2, 7, 4)
    query, key, value = module.projq(tokens), module.projk(memory), module.projv(memory)
    torch.testing.assert_close(module(tokens, memory), module.proj(one_head(query, key, value)))
    want = module.proj(one_head(2 * query, key, value))
    torch.testing.assert_close(module(tokens, memory, query_code=doubled), want)
    torch.testing.assert_close(module(tokens, memory, key_code=doubled), want)


def test_the_decoder_knows_where_the_other_view_is() -> None:
    decoder, positions = CrocoDecoder(16, 8, 1, 2), torch.cartesian_prod(torch.arange(4), torch.arange(4))
    x, y = torch.randn(2, 1, 16, 16)
    shuffled = torch.randperm(16)
    want = decoder(x, y, positions, positions)
    torch.testing.assert_close(decoder(x, y[:, shuffled], positions, positions[shuffled]), want)
    assert not torch.allclose(decoder(x, y[:, shuffled], positions, positions), want, atol=1e-4)


def test_gradients_reach_every_parameter() -> None:
    decoder, positions = CrocoDecoder(16, 8, 1, 2), torch.cartesian_prod(torch.arange(4), torch.arange(4))
    decoder(*torch.randn(2, 1, 16, 16), positions, positions).square().sum().backward()
    assert [name for name, parameter in decoder.named_parameters() if parameter.grad is None] == []


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"CrossAttention: `heads` must be a divisor"):
        CrossAttention(10, 0)
