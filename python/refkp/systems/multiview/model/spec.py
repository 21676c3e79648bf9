"""What the networks are built from: the `model:` section of a configuration. Source: spec multiview f."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from refkp._checks import fail, require_choice
from refkp.nn.encoders import EncoderSpec

FusionKind = Literal["attention", "mean", "concat"]
BodyHeadKind = Literal["transformer_decoder", "mlp"]
CameraHeadKind = Literal["per_view", "shared_with_embedding"]
Limbs = Literal["ignore", "separate", "components", "entangled_with_betas"]


@dataclass(frozen=True)
class FusionSpec:
    """How the views of an instant learn of each other.

    Args:
        kind: "attention" among the views; their "mean", added to each; "concat" of all slots of cameras, of which
            those that are not there are 0.
        layers, heads, dropout: of "attention".
    """

    kind: FusionKind = "attention"
    layers: int = 2
    heads: int = 8
    dropout: float = 0.1

    def __post_init__(self) -> None:
        require_choice("FusionSpec", "kind", self.kind, ("attention", "mean", "concat"))
        if self.layers < 1:
            fail("FusionSpec", "layers", "at least 1", self.layers)


@dataclass(frozen=True)
class BodyHeadSpec:
    """How one body is read from all views.

    Args:
        kind: a "transformer_decoder" that looks at the patches of all views and corrects its estimate step by step, or
            an "mlp" on the mean of the views.
        dim, depth, heads: of the decoder; `dim` also the width of the mlp.
        iterations: corrections of the decoder.
        dropout: in either.
        limbs: what is read of the sizes of limbs: nothing, scales and offsets of every joint, weights of the body's
            components, or its components weighted by the shapes ("entangled_with_betas").
    """

    kind: BodyHeadKind = "transformer_decoder"
    dim: int = 256
    depth: int = 3
    heads: int = 4
    iterations: int = 3
    dropout: float = 0.0
    limbs: Limbs = "ignore"

    def __post_init__(self) -> None:
        require_choice("BodyHeadSpec", "kind", self.kind, ("transformer_decoder", "mlp"))
        require_choice(
            "BodyHeadSpec", "limbs", self.limbs, ("ignore", "separate", "components", "entangled_with_betas")
        )
        for name in ("dim", "depth", "heads", "iterations"):
            if getattr(self, name) < 1:
                fail("BodyHeadSpec", name, "at least 1", getattr(self, name))


@dataclass(frozen=True)
class CameraHeadSpec:
    """How the camera of a view is read.

    Args:
        kind: "per_view": a network for each camera of the rig, which corrects the mean camera of the training set;
            "shared_with_embedding": one network for all, which sees where the animal is and how it is turned in each
            picture, so that it also serves rigs that were never seen.
        hidden: widths of the network.
        dropout: in it.
    """

    kind: CameraHeadKind = "per_view"
    hidden: tuple[int, ...] = (256, 128)
    dropout: float = 0.1

    def __post_init__(self) -> None:
        require_choice("CameraHeadSpec", "kind", self.kind, ("per_view", "shared_with_embedding"))


@dataclass(frozen=True)
class MultiviewSpec:
    """The networks.

    Args:
        encoder: of the pictures, shared by all views.
        fusion, body, camera: what is read of its features.
        max_cameras: different cameras of all rigs, at most.
        chunk_size: pictures that are encoded at once; None: all. It changes memory, and time, alone.
        recompute: encode again for the backward pass instead of keeping what it needs.
    """

    encoder: EncoderSpec = field(default_factory=lambda: EncoderSpec("tiny_resnet", 96, -1))
    fusion: FusionSpec = field(default_factory=FusionSpec)
    body: BodyHeadSpec = field(default_factory=BodyHeadSpec)
    camera: CameraHeadSpec = field(default_factory=CameraHeadSpec)
    max_cameras: int = 8
    chunk_size: int | None = None
    recompute: bool = False

    def __post_init__(self) -> None:
        if self.max_cameras < 1:
            fail("MultiviewSpec", "max_cameras", "at least 1", self.max_cameras)
        if self.chunk_size is not None and self.chunk_size < 1:
            fail("MultiviewSpec", "chunk_size", "at least 1", self.chunk_size)
