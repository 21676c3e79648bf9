"""Every kind of resampler: shapes, what its tokens look at, gradients, options, errors."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from refkp.systems.panorama.model.resampler import ResamplerSpec, build_resampler, cell_boxes
from refkp.systems.panorama.model.resampler.spec import DEFAULTS

GRID = (6, 4)

#: Kind -> (spec with few parameters, output tokens in evaluation, their grid).
KINDS: dict[str, tuple[ResamplerSpec, int, tuple[int, int] | None]] = {
    "identity": (ResamplerSpec("identity"), 24, GRID),
    "mlp": (ResamplerSpec("mlp", dim=12, depth=2), 24, GRID),
    "bimamba": (ResamplerSpec("bimamba", dim=12, depth=1), 24, GRID),
    "c_abstractor": (ResamplerSpec("c_abstractor", dim=12, depth=1), 24, GRID),
    "c_abstractor_pooled": (ResamplerSpec("c_abstractor", dim=12, depth=1, side=3), 9, (3, 3)),
    "perceiver": (ResamplerSpec("perceiver", dim=12, depth=2, num_latents=5, num_heads=2), 5, None),
    "qformer": (ResamplerSpec("qformer", dim=12, depth=2, num_latents=5, num_heads=2), 5, None),
    "spatial_pool": (ResamplerSpec("spatial_pool", side=2), 4, (2, 2)),
    "masked_drop": (ResamplerSpec("masked_drop", keep=0.25), 24, GRID),
    "avg": (ResamplerSpec("avg"), 1, (1, 1)),
    "conv": (ResamplerSpec("conv", dim=12, depth=1), 1, (1, 1)),
}


class _CumulativeMean(nn.Module):
    """In the place of mamba_ssm.Mamba: causal, with its signature."""

    def __init__(self, d_model: int, d_state: int = 16, d_conv: int = 4, expand: int = 2) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(d_model))

    def forward(self, hidden: Tensor) -> Tensor:
        steps = torch.arange(1, hidden.shape[1] + 1)[:, None]
        return self.scale * hidden.cumsum(1) / steps


@pytest.fixture
def mamba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mamba_ssm", SimpleNamespace(Mamba=_CumulativeMean))


def test_every_kind_is_tested() -> None:
    assert {spec.kind for spec, _, _ in KINDS.values()} == set(DEFAULTS)


@pytest.mark.usefixtures("mamba")
@pytest.mark.parametrize("name", KINDS)
def test_shapes_and_gradients(name: str) -> None:
    """Every parameter gets a gradient: an unused one would stop DDP."""
    spec, count, grid = KINDS[name]
    resampler, dim = build_resampler(spec, 8)
    tokens = torch.rand(2, 3, 24, 8, requires_grad=True)
    out = resampler.eval()(tokens, GRID)
    assert dim == (8 if spec.dim is None else spec.dim)
    assert out.tokens.shape == (2, 3, count, dim)
    assert out.boxes.shape == (count, 4)
    assert out.grid == grid
    assert spec.preserves_tokens == (count == 24 and spec.kind != "masked_drop")
    out.tokens.square().sum().backward()
    assert tokens.grad is not None
    assert bool(tokens.grad.abs().sum((0, 1, 3)).gt(0).all())
    assert [key for key, parameter in resampler.named_parameters() if parameter.grad is None] == []


@pytest.mark.usefixtures("mamba")
@pytest.mark.parametrize("name", KINDS)
def test_views_do_not_mix(name: str) -> None:
    resampler, _ = build_resampler(KINDS[name][0], 8)
    tokens = torch.rand(2, 3, 24, 8)
    together = resampler.eval()(tokens, GRID).tokens
    torch.testing.assert_close(together[1:, 2:], resampler(tokens[1:, 2:], GRID).tokens)


def test_pooled_tokens_look_at_the_windows_that_they_are_means_of() -> None:
    """Tokens that hold the centre of their box are pooled to the centres of the pooled boxes."""
    grid = (7, 5)
    boxes = cell_boxes(grid)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    out = build_resampler(ResamplerSpec("spatial_pool", side=3), 2)[0](centres[None], grid)
    torch.testing.assert_close(out.tokens[0], (out.boxes[:, :2] + out.boxes[:, 2:]) / 2)
    assert out.boxes[0].tolist() == pytest.approx([0, 0, 2 / 5, 3 / 7])


def test_masked_drop_keeps_other_tokens_in_each_step_and_knows_which() -> None:
    resampler, _ = build_resampler(ResamplerSpec("masked_drop", keep=0.5), 4)
    tokens = cell_boxes(GRID).expand(2, 3, 24, 4)
    torch.manual_seed(0)
    first, second = resampler(tokens, GRID), resampler(tokens, GRID)
    assert first.tokens.shape == (2, 3, 12, 4)
    assert first.grid is None
    torch.testing.assert_close(first.tokens[1, 2], first.boxes)
    assert not torch.equal(first.boxes, second.boxes)
    assert len(first.boxes.unique(dim=0)) == 12


def test_mlp_and_identity_are_token_wise() -> None:
    resampler, _ = build_resampler(ResamplerSpec("mlp", depth=3), 8)
    tokens = torch.rand(1, 24, 8)
    order = torch.randperm(24)
    torch.testing.assert_close(
        resampler(tokens, GRID).tokens[:, order], resampler(tokens[:, order], GRID).tokens
    )
    identity, _ = build_resampler(ResamplerSpec("identity"), 8)
    assert identity(tokens, GRID).tokens is tokens


@pytest.mark.usefixtures("mamba")
def test_bimamba_reads_both_directions() -> None:
    """The first token depends on the last and the last on the first."""
    resampler, _ = build_resampler(ResamplerSpec("bimamba", depth=1), 8)
    tokens = torch.rand(1, 24, 8, requires_grad=True)
    out = resampler(tokens, GRID).tokens
    for here, there in ((0, 23), (23, 0)):
        (grad,) = torch.autograd.grad(out[0, here].square().sum(), tokens, retain_graph=True)
        assert float(grad[0, there].abs().sum()) > 0


def test_bimamba_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mamba_ssm", None)
    with pytest.raises(ImportError, match=r"'bimamba' needs the package mamba_ssm.*choose the kind 'mlp'"):
        build_resampler(ResamplerSpec("bimamba"), 8)


def test_defaults() -> None:
    assert ResamplerSpec().options == {"depth": 3}
    assert ResamplerSpec("qformer").options == {"depth": 6, "num_latents": 64, "num_heads": 8}
    assert ResamplerSpec("c_abstractor").preserves_tokens
    assert not ResamplerSpec("c_abstractor", side=7).preserves_tokens


def test_errors() -> None:
    with pytest.raises(ValueError, match="`kind` must be one of"):
        ResamplerSpec("average")  # type: ignore[arg-type]
    with pytest.raises(
        ValueError, match="`num_latents` must be left out: kind 'mlp' does not read it; got 8"
    ):
        ResamplerSpec("mlp", num_latents=8)
    with pytest.raises(ValueError, match="`depth` must be at least 1"):
        ResamplerSpec(depth=0)
    with pytest.raises(ValueError, match=r"`keep` must be in \(0,1\]"):
        ResamplerSpec("masked_drop", keep=0.0)
    with pytest.raises(ValueError, match="`dim` must be 16 or None for kind 'identity'"):
        build_resampler(ResamplerSpec("identity", dim=8), 16)
    with pytest.raises(ValueError, match="a multiple of the 8 heads"):
        build_resampler(ResamplerSpec("perceiver"), 12)
    with pytest.raises(ValueError, match="at most the 4 tokens"):
        build_resampler(ResamplerSpec("spatial_pool"), 8)[0](torch.rand(1, 24, 8), GRID)
