"""The vision stage: shapes, gradients, the grid that overlap losses compare."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("transformers", reason="needs the extra `panorama`")

from refkp.nn.encoders import TINY, EncoderSpec
from refkp.systems.panorama.model.resampler import ResamplerSpec
from refkp.systems.panorama.model.vision import VisionStage, VisionStageSpec

ENCODER = EncoderSpec("tiny", TINY["image_size"], train_blocks=-1)


def test_shapes() -> None:
    model = VisionStage(VisionStageSpec(ENCODER, ResamplerSpec(dim=40, depth=3), head_dim=24))
    features = model(torch.rand(2, 3, 3, 96, 96))
    assert model.grid == (12, 12)
    assert features.tokens.shape == (2, 3, 144, 40)
    assert features.projected.shape == (2, 3, 144, 24)


def test_every_trained_parameter_gets_a_gradient() -> None:
    """An unused one would stop DDP."""
    model = VisionStage(VisionStageSpec(ENCODER))
    model(torch.rand(1, 2, 3, 96, 96)).projected.square().sum().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_overlaps_need_a_token_preserving_resampler() -> None:
    """Even where the number of tokens would fit: 144 latents are not the 144 patches."""
    resampler = ResamplerSpec("perceiver", depth=1, num_latents=144)
    model = VisionStage(VisionStageSpec(ENCODER, resampler))
    assert model(torch.rand(1, 2, 3, 96, 96)).projected.shape == (1, 2, 144, 96)
    with pytest.raises(ValueError, match=r"`resampler` must be token-preserving.*got 'perceiver'\. Use mlp"):
        _ = model.grid
