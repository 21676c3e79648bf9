"""The sizes and choices of the model: the `model:` section of a configuration (spec pose 1)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from refkp._checks import fail, require_choice

Position = Literal["so3", "s2rope", "s2rope_equivariant", "none"]
Normalisation = Literal["imagenet", "clip", "siglip"]


@dataclass(frozen=True)
class EncoderSpec:
    """The vision transformer of CroCo v2; the default is ViT-B.

    Args:
        dim: C, size of a token.
        depth: number of blocks.
        heads: of every attention, in the encoder and after it; dim / heads must be a multiple of 4.
        patch_size: p, side of a patch in pixels.
        image_size: side of the crops in pixels, a multiple of `patch_size`.
        normalisation: statistics of the pixels; CroCo was trained with those of ImageNet.
        checkpoint: a CroCo v2 file to start from; None starts from random weights.
        mlp_ratio: hidden size of a block's MLP over `dim`.
        rope_base: of the position code.
        layer_norm_eps: of the encoder's layer normalisations.
    """

    dim: int = 768
    depth: int = 12
    heads: int = 12
    patch_size: int = 16
    image_size: int = 224
    normalisation: Normalisation = "imagenet"
    checkpoint: str | None = None
    mlp_ratio: float = 4.0
    rope_base: float = 100.0
    layer_norm_eps: float = 1e-6

    def __post_init__(self) -> None:
        require_choice("EncoderSpec", "normalisation", self.normalisation, ("imagenet", "clip", "siglip"))
        if self.patch_size < 1 or self.image_size < 1 or self.image_size % self.patch_size:
            rule = f"a multiple of `patch_size` {self.patch_size}"
            fail("EncoderSpec", "image_size", rule, self.image_size)
        if self.heads < 1 or self.dim % (4 * self.heads):
            remedy = "The row and the column each turn pairs of channels of every head."
            fail("EncoderSpec", "dim", f"a multiple of 4 * heads = {4 * self.heads}", self.dim, remedy)

    @property
    def grid(self) -> tuple[int, int]:
        """Patches per crop, rows and columns."""
        side = self.image_size // self.patch_size
        return side, side


@dataclass(frozen=True)
class AttentionSpec:
    """The joint attention of a query and its templates.

    Args:
        depth: number of blocks.
        window: side of the windows of local attention in patches; must divide the grid.
        drop_path: part of the samples whose residual branch is left out in training.
        position: what turns the template tokens. "so3": channels as 3-vectors, turned by the template's pose;
            "s2rope": rotary phases of the viewing direction as first published; "s2rope_equivariant": the same
            idea with smooth phases in the anchor's frame, unchanged by a turn of the object's frame; "none", the best
            of the four where they were compared (docs/pose.md).
        so3_fraction: of "so3": part of the channels of a head that is turned.
        sphere_split: of "s2rope*": channel pairs (x, y, per face of the sphere), D = 2 (x + y + 6 face);
            None takes the automatic split.
        mlp_ratio: hidden size of a block's MLPs over the token size.
        rope_base: of the query's position code.
        query_registers, template_registers: learned tokens of each view that take part in the attention and are
            taken off after it, beside the one token of a template that stands for "not seen".
        object_tokens: the same of an object as a whole, in joint attention alone.
    """

    depth: int = 4
    window: int = 7
    drop_path: float = 0.1
    position: Position = "none"
    so3_fraction: float = 0.5
    sphere_split: tuple[int, int, int] | None = None
    mlp_ratio: float = 4.0
    rope_base: float = 100.0
    query_registers: int = 0
    template_registers: int = 0
    object_tokens: int = 0

    def __post_init__(self) -> None:
        for name in ("query_registers", "template_registers", "object_tokens"):
            if getattr(self, name) < 0:
                fail("AttentionSpec", name, "0 or more", getattr(self, name))
        positions = ("so3", "s2rope", "s2rope_equivariant", "none")
        require_choice("AttentionSpec", "position", self.position, positions)
        if self.sphere_split is not None and not self.position.startswith("s2rope"):
            rule = "given for 's2rope' and 's2rope_equivariant' alone"
            fail("AttentionSpec", "sphere_split", rule, f"{self.sphere_split} with {self.position!r}")
        if not 0 < self.so3_fraction <= 1:
            fail("AttentionSpec", "so3_fraction", "in (0,1]", self.so3_fraction)


@dataclass(frozen=True)
class ClassifierSpec:
    """The head that compares query patches with template patches.

    Args:
        hidden_dim, out_dim: sizes of the two projections.
        num_layers: their number of Linear layers.
        normalise: compare directions (cosines) instead of vectors.
        learnable_temperature: multiply by a learned scale; without it and without `normalise` the products are
            divided by sqrt(out_dim).
        temperature: by which the logits are divided, in the loss and wherever a probability is made of them.
    """

    hidden_dim: int = 512
    out_dim: int = 256
    num_layers: int = 2
    normalise: bool = True
    learnable_temperature: bool = True
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.num_layers < 1:
            fail("ClassifierSpec", "num_layers", "at least 1", self.num_layers)
        if not 0 < self.temperature < math.inf:
            fail("ClassifierSpec", "temperature", "above 0 and finite", self.temperature)


@dataclass(frozen=True)
class FlowSpec:
    """The head that refines a pair of patches to the flow of each pixel.

    Args:
        hidden: sizes of the hidden layers.
        min_scale: what is added to the scale b, in patch units.
    """

    hidden: tuple[int, ...] = (256, 256, 256)
    min_scale: float = 1e-4

    def __post_init__(self) -> None:
        if not self.hidden:
            fail("FlowSpec", "hidden", "at least one size", self.hidden)
        if self.min_scale <= 0:
            fail("FlowSpec", "min_scale", "positive", self.min_scale)


@dataclass(frozen=True)
class VpogSpec:
    """The whole model."""

    encoder: EncoderSpec = field(default_factory=EncoderSpec)
    attention: AttentionSpec = field(default_factory=AttentionSpec)
    classifier: ClassifierSpec = field(default_factory=ClassifierSpec)
    flow: FlowSpec = field(default_factory=FlowSpec)
