"""The training step: losses by name, misuse, mixed precision."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

pytest.importorskip("lightning", reason="needs the extra `train`")
pytest.importorskip("transformers", reason="needs the extra `panorama`")

from refkp.systems.panorama.batch import PanoBatch
from refkp.systems.panorama.encoders import EncoderSpec
from refkp.systems.panorama.layout import ErpLayout
from refkp.systems.panorama.model import VisionStageSpec
from refkp.systems.panorama.module import VisionModule
from refkp.systems.panorama.objective import LossSpec

STAGE = VisionStageSpec(EncoderSpec("tiny", 32, train_blocks=-1))
LAYOUT = ErpLayout.build()


@pytest.fixture
def batch() -> PanoBatch:
    return PanoBatch(torch.rand(2, 9, 3, 32, 32), torch.eye(3).expand(2, 3, 3), ("a", "b"), LAYOUT)


@pytest.mark.parametrize(
    ("loss", "path"),
    [
        (LossSpec(), "overlap/pair"),
        (LossSpec(scope="all"), "overlap/all"),
        (LossSpec(kind="sequential"), "strips/pairwise"),
    ],
)
def test_forward_is_the_whole_step(loss: LossSpec, path: str, batch: PanoBatch) -> None:
    module = VisionModule(STAGE, loss)
    step = module(batch)
    assert step.loss.loss_path == path
    step.loss.total.backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


def test_the_layout_of_the_batch_decides(batch: PanoBatch) -> None:
    """No state on the module: another layout in the next batch gives its own correspondences."""
    module = VisionModule(STAGE).eval()
    first, turned = module(batch), module(replace(batch, layout=LAYOUT.jittered(10.0)))
    assert first.loss.total.item() != turned.loss.total.item()
    torch.testing.assert_close(module(batch).loss.total, first.loss.total)


def test_loss_statistics_stay_float32_under_autocast(batch: PanoBatch) -> None:
    module = VisionModule(STAGE)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        step = module(batch)
    assert step.loss.total.dtype == torch.float32


def test_errors(batch: PanoBatch) -> None:
    module = VisionModule(STAGE)
    with pytest.raises(ValueError, match="the 8 views of the layout; got 9"):
        module(replace(batch, layout=ErpLayout.build(global_view=False)))
    with pytest.raises(ValueError, match="H=32, W=32"):
        module(replace(batch, views=torch.rand(2, 9, 3, 48, 48)))
    with pytest.raises(ValueError, match="kind"):
        LossSpec(kind="grid")  # type: ignore[arg-type]
