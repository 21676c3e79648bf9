"""What each training stage trains, and at which rate. Source: spec panorama 4.2 (New), 7.16, 7.17."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from refkp._checks import fail, require_choice
from refkp.systems.panorama.stages import STAGES, Stage

if TYPE_CHECKING:
    from torch import nn

    from refkp.systems.panorama.model.vlm import PanoramaVLM

#: Learning rate of a resampler that the vision stage has trained, as a part of the run's.
RESAMPLER_SCALE = 0.1


class ParameterGroup(NamedTuple):
    """Parameters that share a learning rate."""

    name: str
    parameters: list[nn.Parameter]
    lr_scale: float  # their rate as a part of the run's


def select_stage(model: PanoramaVLM, stage: Stage) -> None:
    """Set `requires_grad` of every parameter as `stage` trains it.

    | stage     | trained                                                                       |
    |-----------|-------------------------------------------------------------------------------|
    | vision    | resampler, head, and the encoder blocks of `EncoderSpec.train_blocks`         |
    | resampler | resampler (at a tenth of the rate), projector; the head stays in the graph    |
    | finetune  | projector, and the LoRA adapters or, without LoRA, the whole language model   |

    Raises:
        ValueError: a stage with text on a model without language, or LoRA without adapters to train.
    """
    require_choice("select_stage", "stage", stage, STAGES)
    if stage != "vision" and not model.with_language:
        fail("select_stage", "model", f"built with language for stage {stage!r}", "one without")
    model.requires_grad_(False)
    if stage == "vision":
        model.vision.encoder.set_trainable(True)
        model.vision.head.requires_grad_(True)
    if stage in ("vision", "resampler"):
        model.vision.resampler.requires_grad_(True)
    if stage in ("resampler", "finetune"):
        model.projector.requires_grad_(True)
    if stage == "finetune":
        _train_language(model)


def _train_language(model: PanoramaVLM) -> None:
    if model.spec.language.lora is None:
        model.language.requires_grad_(True)
        return
    adapters = list(model.language.adapter_parameters())
    if not adapters:
        remedy = "Use a model whose adapters are not merged, or set `lora` to null to train all of it."
        fail("select_stage", "lora", "adapters that can be trained", "no adapter parameter", remedy)
    for parameter in adapters:
        parameter.requires_grad_(True)


def parameter_groups(model: PanoramaVLM, stage: Stage) -> list[ParameterGroup]:
    """The trained parameters after `select_stage`, one group per module that has any.

    Raises:
        ValueError: nothing is trained, or something outside of the stage's modules.
    """
    require_choice("parameter_groups", "stage", stage, STAGES)
    parts: list[tuple[str, nn.Module, float]] = [
        ("encoder", model.vision.encoder, model.spec.vision.encoder.lr_scale),
        ("resampler", model.vision.resampler, RESAMPLER_SCALE if stage == "resampler" else 1.0),
        ("head", model.vision.head, 1.0),
    ]
    if model.with_language:
        parts += [("projector", model.projector, 1.0), ("language", model.language, 1.0)]
    groups = [ParameterGroup(name, _trained(part.parameters()), scale) for name, part, scale in parts]
    groups = [group for group in groups if group.parameters]
    if not groups:
        fail("parameter_groups", "model", "one with trained parameters", "none", "Call `select_stage` first.")
    return groups


def _trained(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    return [parameter for parameter in parameters if parameter.requires_grad]
