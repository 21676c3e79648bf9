"""Vision encoders: any plain vision transformer (SigLIP, CLIP, ViT, DINOv2, ...) or convolutional network in stages
(ResNet, ConvNeXt, ...) of transformers, from the hub, a folder, or tiny with random weights.

Pixel statistics belong to the encoder: views arrive in [0,1] and are normalised here and nowhere else. What is frozen
stays as it is: its statistics of batches too, and without dropout.
Source: spec panorama 2.6 (normalisation), 4.1 and 4.5; multiview f.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from refkp._checks import fail, require_shape
from refkp._extras import named_extras
from refkp.nn.pixels import SIGLIP, PixelStatistics, normalise
from refkp.nn.pretrained import loading

#: The encoders of tests, demos and the `tiny` presets, by their names.
TINY = {
    "hidden_size": 96,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "patch_size": 8,
    "image_size": 96,
}
TINY_RESNET = {
    "embedding_size": 16,
    "hidden_sizes": [24, 64, 128],
    "depths": [1, 1, 1],
    "layer_type": "basic",
}

_PREFIX_TOKENS = ("cls_token", "class_token", "class_embedding", "distillation_token")


@dataclass(frozen=True)
class EncoderSpec:
    """Which vision encoder, and what of it is trained.

    Args:
        source: a model name on the Hugging Face hub, a local folder, or with random weights and no files "tiny" (a
            vision transformer) or "tiny_resnet".
        image_size: side of the views in pixels; position codes are interpolated when the weights had another
            one.
        train_blocks: number of last transformer blocks, or stages of a convolutional network, that are trained, with
            what follows them; -1 trains the whole encoder, 0 freezes it.
        lr_scale: learning rate of what is trained, as a part of the run's.
    """

    source: str = "google/siglip-base-patch16-224"
    image_size: int = 224
    train_blocks: int = 0
    lr_scale: float = 1.0


class VisionEncoder(nn.Module):
    """Views in [0,1] to tokens: [B,V,3,H,W] -> [B,V,S,D], S = Gh * Gw without class and register tokens.

    Raises:
        ValueError: unknown pixel statistics, weights missing in `source`, an `image_size` that does not fit
            the patches or that the position codes do not allow, tokens that do not fill the patch grid.
    """

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__()
        self.spec = spec
        tiny = _tiny(spec.source)
        self.backbone, missing = _pretrained(spec.source) if tiny is None else (tiny, set[str]())
        self.statistics = _statistics(spec.source) if tiny is None else SIGLIP
        self.is_convolutional = _is_convolutional(self.backbone)
        if self.is_convolutional:
            self.backbone.to(memory_format=torch.channels_last)
        else:
            _require_transformer(self.backbone)
        patch = self.patch_size
        if spec.image_size < patch or spec.image_size % patch:
            fail("VisionEncoder", "image_size", f"a multiple of the patch size {patch}", spec.image_size)
        read = self._read_names()
        if absent := sorted(missing & read):
            fail("VisionEncoder", "source", "complete weights", f"none for {absent[:3]} in {spec.source!r}")
        self._trained = self._trained_names(read)
        self.set_trainable(True)

    @property
    def patch_size(self) -> int:
        """Side of the square of pixels that one token stands for."""
        if self.is_convolutional:
            return _stride(self.backbone)
        size = self.backbone.config.patch_size
        return size if isinstance(size, int) else size[0]

    @property
    def dim(self) -> int:
        """Feature size of a token."""
        config: Any = self.backbone.config
        return config.hidden_sizes[-1] if self.is_convolutional else config.hidden_size

    @property
    def grid(self) -> tuple[int, int]:
        """Tokens per view, rows and columns."""
        side = self.spec.image_size // self.patch_size
        return side, side

    @property
    def num_prefix_tokens(self) -> int:
        """Class, distillation and register tokens, which come before the patches."""
        if self.is_convolutional:
            return 0
        embeddings = self.backbone.embeddings
        learned = [name for name in _PREFIX_TOKENS if getattr(embeddings, name, None) is not None]
        return len(learned) + getattr(self.backbone.config, "num_register_tokens", 0)

    def forward(self, views: Tensor) -> Tensor:
        """Encode views [B,V,3,size,size] in [0,1]; returns [B,V,S,D]."""
        size = self.spec.image_size
        require_shape("VisionEncoder", "views", views, "B,V,3,H,W", H=size, W=size)
        return self._patch_tokens(normalise(views, self.statistics).flatten(0, 1)).unflatten(
            0, views.shape[:2]
        )

    def set_trainable(self, trainable: bool) -> None:
        """Train the parameters that `train_blocks` names, or none."""
        for name, parameter in self.backbone.named_parameters():
            parameter.requires_grad_(trainable and name in self._trained)
        self.train(self.training)

    def train(self, mode: bool = True) -> VisionEncoder:
        """Training mode of what is trained; the rest stays in evaluation mode."""
        super().train(mode)
        _keep_frozen(self.backbone)
        return self

    def _patch_tokens(self, pixels: Tensor) -> Tensor:
        if self.is_convolutional:
            # Half the time of the other layout on a CPU.
            pixels = pixels.contiguous(memory_format=torch.channels_last)
            return self.backbone(pixel_values=pixels).last_hidden_state.flatten(2).transpose(1, 2)
        options = {"interpolate_pos_encoding": True} if self._resized else {}
        tokens = self.backbone(pixel_values=pixels, **options).last_hidden_state
        return tokens[:, self.num_prefix_tokens :]

    @property
    def _resized(self) -> bool:
        return getattr(self.backbone.config, "image_size", None) != self.spec.image_size

    def _trained_names(self, read: set[str]) -> set[str]:
        """The parameters that `train_blocks` trains: those of `read` from its first block on."""
        names = [name for name, _ in self.backbone.named_parameters()]
        prefix, blocks = _block_list(self.backbone)
        count = self.spec.train_blocks
        if not -1 <= count <= len(blocks):
            fail("VisionEncoder", "train_blocks", f"from -1 to {len(blocks)}", count)
        if count < 0:
            return read
        frozen = {f"{prefix}.{index}." for index in range(len(blocks) - count)}
        first = next(i for i, name in enumerate(names) if name.startswith(f"{prefix}."))
        later = [name for name in names[first:] if not any(name.startswith(block) for block in frozen)]
        return read.intersection(later) if count else set()

    def _read_names(self) -> set[str]:
        """The parameters that the patch tokens depend on, found by walking the graph of one view."""
        size = self.spec.image_size
        pixels = torch.zeros(1, 3, size, size)
        try:
            with torch.enable_grad():
                tokens = self._patch_tokens(pixels)
        except (ValueError, TypeError, RuntimeError) as error:
            remedy = "Set `image_size` to that of its weights, or take a plain vision transformer."
            raise ValueError(
                f"VisionEncoder: `source` {self.spec.source!r} cannot encode a view of {size} pixels: {error}. "
                + remedy
            ) from error
        if tokens.shape[1] != self.grid[0] * self.grid[1]:
            fail(
                "VisionEncoder",
                "source",
                f"a vision transformer with {self.grid[0]}x{self.grid[1]} patch tokens after "
                f"{self.num_prefix_tokens} class and register tokens",
                f"{tokens.shape[1]} tokens from {self.spec.source!r}",
            )
        leaves = _leaves(tokens)
        return {name for name, parameter in self.backbone.named_parameters() if parameter in leaves}


def _is_convolutional(backbone: nn.Module) -> bool:
    return isinstance(getattr(getattr(backbone, "encoder", None), "stages", None), nn.ModuleList)


@torch.no_grad()
def _stride(backbone: nn.Module) -> int:
    """Pixels between two neighbouring features of a convolutional network, read from where a picture ends up."""
    side = 256
    was_training = backbone.training
    features = backbone.eval()(pixel_values=torch.zeros(1, 3, side, side)).last_hidden_state
    backbone.train(was_training)
    return side // features.shape[-1]


def _keep_frozen(module: nn.Module) -> None:
    """Evaluation mode for the largest parts of which nothing is trained."""
    parameters = list(module.parameters())
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        module.eval()
        return
    for child in module.children():
        _keep_frozen(child)


def _require_transformer(backbone: nn.Module) -> None:
    """Raise ValueError unless a model has what this module reads of a plain vision transformer."""
    config: Any = backbone.config
    needed = ("patch_size", "hidden_size", "num_hidden_layers")
    absent = [name for name in needed if getattr(config, name, None) is None]
    if absent or not hasattr(backbone, "embeddings"):
        got = f"{type(backbone).__name__} without {', '.join(absent) or 'embeddings'}"
        rule = "a plain vision transformer, or a convolutional network in stages"
        fail("VisionEncoder", "source", rule, got)


def _leaves(tensor: Tensor) -> set[Tensor]:
    """The parameters in the graph of a tensor."""
    seen, found, stack = set(), set(), [tensor.grad_fn]
    while stack:
        node: Any = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.add(node.variable)
        stack += [following for following, _ in node.next_functions]
    return found


def _block_list(backbone: nn.Module) -> tuple[str, nn.ModuleList]:
    """The name and the list of the stages, or of the transformer blocks: as many as the configuration has layers."""
    if _is_convolutional(backbone):
        return "encoder.stages", backbone.encoder.stages  # type: ignore[union-attr,return-value]
    config: Any = backbone.config
    lists = ((name, part) for name, part in backbone.named_modules() if isinstance(part, nn.ModuleList))
    found = next(((name, blocks) for name, blocks in lists if len(blocks) == config.num_hidden_layers), None)
    if found is None:
        fail("VisionEncoder", "source", "a vision transformer with a list of blocks", type(backbone).__name__)
    return found


def _tiny(source: str) -> Any:
    """The encoder with random weights of that name; None if it is none of them."""
    if source == "tiny":
        transformers = _transformers()
        return transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**TINY, vision_use_head=False))
    if source == "tiny_resnet":
        transformers = _transformers()
        return transformers.ResNetModel(transformers.ResNetConfig(**TINY_RESNET))
    return None


def _pretrained(source: str) -> tuple[Any, set[str]]:
    """The vision model of `source`, alone where it is one tower of two, and its parameters without weights."""
    transformers = _transformers()
    with loading("VisionEncoder", source):
        config = transformers.AutoConfig.from_pretrained(source)
        tower = getattr(config, "vision_config", config)
        if hasattr(tower, "vision_use_head"):
            tower.vision_use_head = False  # SigLIP's pooling of all tokens to one
        if type(tower) in transformers.MODEL_MAPPING:
            config = tower
        model, report = transformers.AutoModel.from_pretrained(
            source, config=config, dtype=torch.float32, output_loading_info=True
        )
    missing = {name.removeprefix("vision_model.") for name in report["missing_keys"]}
    return getattr(model, "vision_model", model), missing


def _statistics(source: str) -> PixelStatistics:
    """Mean and standard deviation of the pixels that the weights of `source` were trained on."""
    with named_extras():
        from transformers.image_processing_base import ImageProcessingMixin

    try:
        settings, _ = ImageProcessingMixin.get_image_processor_dict(source)
        return PixelStatistics(tuple(settings["image_mean"]), tuple(settings["image_std"]))
    except (OSError, KeyError) as error:
        remedy = "Put a preprocessor_config.json with `image_mean` and `image_std` beside the weights."
        raise ValueError(
            f"VisionEncoder: `source` {source!r} has no normalisation statistics. {remedy}"
        ) from error


def _transformers() -> Any:
    with named_extras():
        import transformers
    return transformers
