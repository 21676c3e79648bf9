"""The vision encoder of the panorama model: SigLIP of transformers, from the hub, a folder, or tiny with
random weights.

Pixel statistics belong to the encoder: views arrive in [0,1] and are normalised here and nowhere else.
Source: spec panorama 2.6 (normalisation), 4.1 and 4.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from refkp._checks import fail, require_shape
from refkp._extras import named_extras

if TYPE_CHECKING:
    from transformers import SiglipVisionModel

#: The encoder of tests, demos and the `tiny` preset.
TINY = {
    "hidden_size": 96,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "patch_size": 8,
    "image_size": 96,
}

_SIGLIP_STATISTICS = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@dataclass(frozen=True)
class EncoderSpec:
    """Which vision encoder, and what of it is trained.

    Args:
        source: a model name on the Hugging Face hub, a local folder, or "tiny" (random weights, no files).
        image_size: side of the views in pixels; position codes are interpolated when the weights had another
            one.
        train_blocks: number of last transformer blocks that are trained; -1 trains the whole encoder, 0
            freezes it.
    """

    source: str = "google/siglip-base-patch16-224"
    image_size: int = 224
    train_blocks: int = 0


class VisionEncoder(nn.Module):
    """Views in [0,1] to tokens: [B,V,3,H,W] -> [B,V,S,D], S = Gh * Gw without class tokens."""

    mean: Tensor
    std: Tensor

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__()
        self.spec = spec
        self.backbone, (mean, std) = _tiny() if spec.source == "tiny" else _pretrained(spec.source)
        patch = self.patch_size
        if spec.image_size < patch or spec.image_size % patch:
            fail("VisionEncoder", "image_size", f"a multiple of the patch size {patch}", spec.image_size)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)
        self._freeze()

    @property
    def patch_size(self) -> int:
        """Side of the square of pixels that one token sees."""
        config: Any = self.backbone.config
        return config.patch_size

    @property
    def dim(self) -> int:
        """Feature size of a token."""
        return self.backbone.config.hidden_size

    @property
    def grid(self) -> tuple[int, int]:
        """Tokens per view, rows and columns."""
        side = self.spec.image_size // self.patch_size
        return side, side

    def forward(self, views: Tensor) -> Tensor:
        """Encode views [B,V,3,size,size] in [0,1]; returns [B,V,S,D]."""
        size = self.spec.image_size
        require_shape("VisionEncoder", "views", views, "B,V,3,H,W", H=size, W=size)
        pixels = ((views - self.mean) / self.std).flatten(0, 1)
        resized = self.backbone.config.image_size != size
        tokens = self.backbone(pixel_values=pixels, interpolate_pos_encoding=resized).last_hidden_state
        return tokens.unflatten(0, views.shape[:2])

    def _freeze(self) -> None:
        count = self.spec.train_blocks
        blocks = self.backbone.encoder.layers
        if not -1 <= count <= len(blocks):
            fail("VisionEncoder", "train_blocks", f"from -1 to {len(blocks)}", count)
        if count < 0:
            return
        self.backbone.requires_grad_(False)
        for block in blocks[len(blocks) - count :]:
            block.requires_grad_(True)
        self.backbone.post_layernorm.requires_grad_(count > 0)


Statistics = tuple[tuple[float, ...], tuple[float, ...]]


def _tiny() -> tuple[SiglipVisionModel, Statistics]:
    transformers = _transformers()
    config = transformers.SiglipVisionConfig(**TINY, vision_use_head=False)
    return transformers.SiglipVisionModel(config), _SIGLIP_STATISTICS


def _pretrained(source: str) -> tuple[SiglipVisionModel, Statistics]:
    transformers = _transformers()
    model = transformers.SiglipVisionModel.from_pretrained(source, vision_use_head=False)
    return model, _statistics(source)


def _statistics(source: str) -> Statistics:
    """Mean and standard deviation of the pixels that the weights of `source` were trained on."""
    with named_extras():
        from transformers.image_processing_base import ImageProcessingMixin

    try:
        settings, _ = ImageProcessingMixin.get_image_processor_dict(source)
        return tuple(settings["image_mean"]), tuple(settings["image_std"])
    except (OSError, KeyError) as error:
        remedy = "Put a preprocessor_config.json with `image_mean` and `image_std` beside the weights."
        raise ValueError(
            f"VisionEncoder: `source` {source!r} has no normalisation statistics. {remedy}"
        ) from error


def _transformers() -> Any:
    with named_extras():
        import transformers
    return transformers
