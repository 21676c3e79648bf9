"""Token and operation counts against the numbers of the spec and of the networks themselves."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from refkp.systems.panorama.model.budget import token_budget, vision_tokens
from refkp.systems.panorama.model.projector import PanoramaProjector, ProjectorSpec
from refkp.systems.panorama.model.resampler import ViewTokens
from refkp.systems.panorama.model.resampler.tokens import cell_boxes
from refkp.systems.panorama.model.sizes import EncoderSize, LanguageSize
from refkp.systems.panorama.views.crops import crop_layout
from refkp.systems.panorama.views.layout import ErpLayout
from refkp.systems.panorama.views.spec import CropSpec


def test_numbers_of_the_spec() -> None:
    """Spec 4.1 and 11: 1078 tokens at 14 x 14, 1408 at 16 x 16; a half-black global view."""
    budget = token_budget(ErpLayout.build(), drop_padding=False)
    assert (budget.num_views, budget.num_tiles, budget.tokens_per_view) == (9, 8, 196)
    stitched = [budget.vision_tokens[name] for name in ("views", "concat", "stride_views")]
    assert stitched == [1764, 1764, 1078]
    assert budget.padding_tokens == 6 * 14  # of 3.5 black rows at either end, three are wholly black
    assert token_budget(ErpLayout.build()).vision_tokens["views"] == 1764 - 84
    large = token_budget(ErpLayout.build(), view_size=256, drop_padding=False)
    assert large.vision_tokens["stride_views"] == 1408
    assert budget.tile_overlap == pytest.approx(0.4767, abs=1e-4)
    assert budget.coverage == pytest.approx(0.698, abs=5e-3)
    assert budget.mean_multiplicity == pytest.approx(8 / 6, abs=5e-3)


@pytest.mark.parametrize("stitching", ["views", "concat", "stride_views", "resample"])
@pytest.mark.parametrize("drop_padding", [False, True])
def test_vision_tokens_are_those_of_the_projector(stitching: str, drop_padding: bool) -> None:
    layout = ErpLayout.build()
    overlap = 0.5 if stitching == "stride_views" else None
    spec = ProjectorSpec(stitching, overlap, drop_padding=drop_padding)
    tokens = ViewTokens(torch.zeros(1, 9, 16, 2), cell_boxes((4, 4)), (4, 4))
    sequence = PanoramaProjector(spec, 2, 3)(tokens, layout, torch.eye(3)[None])
    assert vision_tokens(layout, (4, 4), drop_padding=drop_padding)[stitching] == sequence.shape[1]


def test_several_rows_allow_no_row_of_tiles() -> None:
    two_rows = ErpLayout.build(pitch_min_deg=-67.5, pitch_max_deg=67.5)
    assert set(token_budget(two_rows).vision_tokens) == {"views", "resample"}


def test_encoder_flops_are_those_of_the_network() -> None:
    transformers = pytest.importorskip("transformers", reason="needs the extra `panorama`")
    config = transformers.SiglipVisionConfig(
        hidden_size=32, intermediate_size=80, num_hidden_layers=3, num_attention_heads=2, image_size=32,
        patch_size=8, vision_use_head=False, attn_implementation="eager",
    )  # fmt: skip
    model = transformers.SiglipVisionModel(config)
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, 32, 32))
    assert EncoderSize(32, 80, 3, 8).flops(16) == counter.get_total_flops()


def test_prefill_flops_are_those_of_the_network() -> None:
    """The network multiplies all L x L scores; the formula counts the causal half."""
    transformers = pytest.importorskip("transformers", reason="needs the extra `panorama`")
    config = transformers.Qwen2Config(
        vocab_size=50, hidden_size=32, intermediate_size=72, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, attn_implementation="eager",
    )  # fmt: skip
    model = transformers.Qwen2ForCausalLM(config)
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 20, dtype=torch.int64), logits_to_keep=1)
    rotary = counter.flop_counts["Global"].get(torch.ops.aten.bmm, 0) - 2 * 2 * 2 * 20 * 20 * 32
    masked = 2 * 2 * 32 * (2 * 20 * 20 - 20 * 21)
    got = LanguageSize(32, 72, 2, 4, 2, 50, text_tokens=5).prefill_flops(15)
    assert got == counter.get_total_flops() - rotary - masked


def test_strategies_without_tiles_or_global_view() -> None:
    window = token_budget(crop_layout(CropSpec("sliding_window"), (64, 128), 224))
    assert (window.tile_overlap, window.padding_tokens) == (None, 0)
    assert window.vision_tokens == {"views": 8 * 196}
    alone = token_budget(crop_layout(CropSpec("resize"), (64, 128), 224))
    assert (alone.vision_tokens, alone.coverage) == ({"views": 196}, 0)


def test_errors() -> None:
    with pytest.raises(ValueError, match="patch size 16"):
        token_budget(ErpLayout.build(), view_size=225)
    with pytest.raises(ValueError, match="overlap"):
        token_budget(ErpLayout.build(), overlap=1.0)
    with pytest.raises(ValueError, match="EncoderSize: `dim`"):
        EncoderSize(dim=0)
    with pytest.raises(ValueError, match="multiple of `kv_heads`"):
        LanguageSize(heads=14, kv_heads=4)
    with pytest.raises(ValueError, match="text_tokens"):
        LanguageSize(text_tokens=-1)
