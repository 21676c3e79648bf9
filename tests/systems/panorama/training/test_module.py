"""The training step of every stage: losses by name, gradients, misuse, mixed precision."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

pytest.importorskip("lightning", reason="needs the extra `train`")
pytest.importorskip("transformers", reason="needs the extra `panorama`")
pytest.importorskip("peft", reason="needs the extra `panorama`")

from refkp.nn.encoders import EncoderSpec
from refkp.systems.panorama.batch import PanoBatch
from refkp.systems.panorama.data.text import TextProcessor, collate_text
from refkp.systems.panorama.losses.objective import LossSpec
from refkp.systems.panorama.model.language import LanguageSpec, LoraSpec
from refkp.systems.panorama.model.vision import VisionStageSpec
from refkp.systems.panorama.model.vlm import PanoramaVLMSpec
from refkp.systems.panorama.stages import Stage
from refkp.systems.panorama.tokenizer import load_tokenizer
from refkp.systems.panorama.training.module import PanoramaModule
from refkp.systems.panorama.views.layout import ErpLayout

LANGUAGE = LanguageSpec("tiny", lora=LoraSpec(rank=2, alpha=4, dropout=0.0))
MODEL = PanoramaVLMSpec(VisionStageSpec(EncoderSpec("tiny", 32, train_blocks=-1)), language=LANGUAGE)
LAYOUT = ErpLayout.build()


@pytest.fixture
def batch() -> PanoBatch:
    return PanoBatch(torch.rand(2, 9, 3, 32, 32), torch.eye(3).expand(2, 3, 3), ("a", "b"), LAYOUT)


@pytest.fixture
def text_batch(batch: PanoBatch) -> PanoBatch:
    processor = TextProcessor(load_tokenizer(LANGUAGE.source))
    samples = [processor.training("scene", answer) for answer in ("A door.", "Sea.")]
    return replace(batch, text=collate_text(samples, processor.pad_id))


@pytest.mark.parametrize(
    ("loss", "path"),
    [
        (LossSpec(), "overlap/pair"),
        (LossSpec(scope="all"), "overlap/all"),
        (LossSpec(kind="sequential"), "strips/pairwise"),
    ],
)
def test_forward_is_the_whole_step(loss: LossSpec, path: str, batch: PanoBatch) -> None:
    module = PanoramaModule("vision", MODEL, loss)
    step = module(batch)
    assert step.overlap.loss_path == path
    assert step.total == step.overlap.total
    step.total.backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


TRAINED: dict[Stage, tuple[str, ...]] = {
    "vision": ("vision.",),
    "resampler": ("vision.resampler.", "projector."),
    "finetune": ("projector.", "language.lora"),
}


@pytest.mark.parametrize("stage", TRAINED)
def test_gradients_exactly_where_the_stage_says(
    stage: Stage, batch: PanoBatch, text_batch: PanoBatch
) -> None:
    module = PanoramaModule(stage, MODEL)
    module(batch if stage == "vision" else text_batch).total.backward()
    for name, parameter in module.model.named_parameters():
        kind = "language.lora" if "lora_" in name else name
        assert (parameter.grad is not None) == kind.startswith(TRAINED[stage]), name


def test_the_loss_of_each_text_stage(text_batch: PanoBatch) -> None:
    step = PanoramaModule("resampler", MODEL, vision_loss_weight=0.5)(text_batch)
    torch.testing.assert_close(step.total, step.caption + 0.5 * step.overlap.total)
    alone = PanoramaModule("resampler", MODEL, vision_loss_weight=0.0)(text_batch)
    assert (alone.overlap, alone.total) == (None, alone.caption)
    tuned = PanoramaModule("finetune", MODEL)(text_batch)
    assert (tuned.overlap, tuned.table, tuned.total) == (None, None, tuned.caption)


def test_frozen_vision_parts_compute_as_in_evaluation() -> None:
    module = PanoramaModule("finetune", MODEL)
    module.on_fit_start()
    vision = module.model.vision
    assert not any(part.training for part in (vision.encoder, vision.resampler, vision.head))
    assert module.model.projector.training
    assert module.model.language.training


def test_the_layout_of_the_batch_decides(batch: PanoBatch) -> None:
    """No state on the module: another layout in the next batch gives its own correspondences."""
    module = PanoramaModule("vision", MODEL).eval()
    first, turned = module(batch), module(replace(batch, layout=LAYOUT.jittered(10.0)))
    assert first.total.item() != turned.total.item()
    torch.testing.assert_close(module(batch).total, first.total)


def test_loss_statistics_stay_float32_under_autocast(batch: PanoBatch) -> None:
    module = PanoramaModule("vision", MODEL)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        step = module(batch)
    assert step.total.dtype == torch.float32


def test_a_loss_that_is_not_finite_is_reported(batch: PanoBatch) -> None:
    module = PanoramaModule("vision", MODEL)
    with torch.no_grad():
        module.model.vision.head.layers[-1].bias.fill_(torch.nan)
    with pytest.raises(
        ValueError, match=r"`loss` must be finite; got total nan, .*invariance nan, .* at step 0"
    ):
        module.require_finite(module(batch))


def test_errors(batch: PanoBatch, text_batch: PanoBatch) -> None:
    module = PanoramaModule("vision", MODEL)
    with pytest.raises(ValueError, match="the 8 views of the layout; got 9"):
        module(replace(batch, layout=ErpLayout.build(global_view=False)))
    with pytest.raises(ValueError, match="H=32, W=32"):
        module(replace(batch, views=torch.rand(2, 9, 3, 48, 48)))
    with pytest.raises(ValueError, match="without texts in the vision stage"):
        module(text_batch)
    with pytest.raises(ValueError, match="without texts in the vision stage"):
        PanoramaModule("finetune", MODEL)(batch)
    with pytest.raises(ValueError, match="stage"):
        PanoramaModule("all", MODEL)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="vision_loss_weight"):
        PanoramaModule(vision_loss_weight=-1.0)
    with pytest.raises(ValueError, match="kind"):
        LossSpec(kind="grid")  # type: ignore[arg-type]
