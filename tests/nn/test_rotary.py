"""Channel pairs turned by phases."""

from __future__ import annotations

import torch

from refkp.nn.rotary import rotary


def test_neighbours_turn_as_complex_numbers() -> None:
    tokens, phases = torch.randn(2, 5, 6, dtype=torch.float64), torch.randn(5, 1, 3, dtype=torch.float64)
    turned = torch.view_as_complex(tokens.unflatten(-1, (3, 2))) * torch.polar(
        torch.ones(()).double(), phases[:, 0]
    )
    torch.testing.assert_close(
        rotary(phases, interleaved=True)(tokens), torch.view_as_real(turned).flatten(-2)
    )


def test_halves_turn_as_complex_numbers() -> None:
    tokens, phases = torch.randn(5, 12, dtype=torch.float64), torch.randn(5, 2, 3, dtype=torch.float64)
    real, imaginary = tokens.unflatten(-1, (2, 2, 3)).unbind(-2)
    turned = torch.complex(real, imaginary) * torch.polar(torch.ones(()).double(), phases)
    want = torch.stack((turned.real, turned.imag), -2).flatten(-3)
    torch.testing.assert_close(rotary(phases, interleaved=False)(tokens), want)


def test_tokens_out_of_the_mask_stay_to_the_last_bit() -> None:
    tokens, mask = torch.randn(5, 6), torch.tensor([True, False, True, False, False])
    turned = rotary(torch.randn(5, 1, 3), interleaved=True, mask=mask)(tokens)
    assert torch.equal(turned[~mask], tokens[~mask])
    assert not torch.isclose(turned[mask], tokens[mask]).all(-1).any()


def test_half_precision_is_computed_in_float32() -> None:
    tokens, phases = torch.randn(50, 64), 100 * torch.randn(50, 1, 32)
    code = rotary(phases, interleaved=True)
    half = code(tokens.bfloat16())
    assert half.dtype == torch.bfloat16
    assert torch.equal(half, code(tokens.bfloat16().float()).bfloat16())
