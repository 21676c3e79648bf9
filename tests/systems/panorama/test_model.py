"""Encoder, resampler, head: shapes, freezing, sources, errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

transformers = pytest.importorskip("transformers", reason="needs the extra `panorama`")

from refkp.systems.panorama.encoders import TINY, EncoderSpec, VisionEncoder  # noqa: E402
from refkp.systems.panorama.model import VisionStage, VisionStageSpec  # noqa: E402
from refkp.systems.panorama.resampler import ResamplerSpec, build_resampler  # noqa: E402

TINY_SPEC = EncoderSpec("tiny", TINY["image_size"], train_blocks=-1)


def test_shapes() -> None:
    model = VisionStage(VisionStageSpec(TINY_SPEC, ResamplerSpec(dim=40, depth=3), head_dim=24))
    features = model(torch.rand(2, 3, 3, 96, 96))
    assert model.grid == (12, 12)
    assert features.tokens.shape == (2, 3, 144, 40)
    assert features.projected.shape == (2, 3, 144, 24)


def test_every_trained_parameter_gets_a_gradient() -> None:
    """An unused one would stop DDP."""
    model = VisionStage(VisionStageSpec(TINY_SPEC))
    model(torch.rand(1, 2, 3, 96, 96)).projected.square().sum().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_freezing() -> None:
    def trained(train_blocks: int) -> set[str]:
        encoder = VisionEncoder(EncoderSpec("tiny", 96, train_blocks))
        return {name.removeprefix("backbone.") for name, p in encoder.named_parameters() if p.requires_grad}

    assert trained(0) == set()
    assert all(name.startswith(("encoder.layers.1.", "post_layernorm")) for name in trained(1))
    assert any(name.startswith("embeddings.") for name in trained(-1))
    with pytest.raises(ValueError, match="`train_blocks` must be from -1 to 2"):
        trained(3)


def test_pixels_are_normalised_by_the_encoder() -> None:
    """SigLIP's statistics map grey 0.5 to zero: the patch embedding of a grey view is its bias."""
    encoder = VisionEncoder(TINY_SPEC)
    seen = []
    encoder.backbone.register_forward_pre_hook(
        lambda _, __, kwargs: seen.append(kwargs["pixel_values"]), with_kwargs=True
    )
    encoder(torch.full((1, 1, 3, 96, 96), 0.5))
    assert float(seen[0].abs().max()) == 0


@pytest.fixture
def saved_model(tmp_path: Path) -> Path:
    """A folder as transformers saves it, without its preprocessor."""
    config = transformers.SiglipVisionConfig(**{**TINY, "image_size": 32}, vision_use_head=False)
    transformers.SiglipVisionModel(config).save_pretrained(tmp_path)
    return tmp_path


def test_local_folder_with_another_view_size(saved_model: Path) -> None:
    statistics = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.6, 0.7]}
    (saved_model / "preprocessor_config.json").write_text(json.dumps(statistics))
    encoder = VisionEncoder(EncoderSpec(str(saved_model), 48))
    assert encoder.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert encoder(torch.rand(1, 2, 3, 48, 48)).shape == (1, 2, 36, 96)


def test_unknown_statistics_are_an_error(saved_model: Path) -> None:
    with pytest.raises(ValueError, match="no normalisation statistics"):
        VisionEncoder(EncoderSpec(str(saved_model), 32))


def test_errors() -> None:
    with pytest.raises(ValueError, match="multiple of the patch size 8"):
        VisionEncoder(EncoderSpec("tiny", 100))
    with pytest.raises(ValueError, match=r"H=96, W=96; got \[1,2,3,64,64\]"):
        VisionEncoder(TINY_SPEC)(torch.rand(1, 2, 3, 64, 64))
    with pytest.raises(ValueError, match="for kind 'identity'"):
        build_resampler(ResamplerSpec("identity", dim=8), 16)
    with pytest.raises(ValueError, match="kind"):
        ResamplerSpec("average")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="depth"):
        ResamplerSpec(depth=0)


def test_identity_resampler_keeps_the_tokens() -> None:
    resampler, dim = build_resampler(ResamplerSpec("identity"), 16)
    tokens = torch.rand(2, 6, 16)
    assert dim == 16
    assert resampler(tokens, (2, 3)).tokens is tokens
