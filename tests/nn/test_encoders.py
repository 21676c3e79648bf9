"""Vision transformers of several families: tokens, statistics, position codes, freezing, errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

transformers = pytest.importorskip("transformers", reason="needs the extra `panorama`")

from refkp.nn.encoders import EncoderSpec, VisionEncoder  # noqa: E402

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "patch_size": 8,
    "image_size": 32,
}
WIDE = {**SIZES, "intermediate_size": 32}
TEXT = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 9,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
MEAN, STD = [0.1, 0.2, 0.3], [0.5, 0.6, 0.7]

#: Family -> (model, prefix tokens, names that begin the trained parameters of `train_blocks=1`).
FAMILIES: dict[str, tuple[Callable[[], Any], int, tuple[str, ...]]] = {
    "siglip": (
        lambda: transformers.SiglipModel(transformers.SiglipConfig(vision_config=WIDE, text_config=TEXT)),
        0,
        ("encoder.layers.1.", "post_layernorm."),
    ),
    "siglip_vision": (
        lambda: transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**WIDE)),
        0,
        ("encoder.layers.1.", "post_layernorm."),
    ),
    "clip": (
        lambda: transformers.CLIPModel(transformers.CLIPConfig(vision_config=WIDE, text_config=TEXT)),
        1,
        ("encoder.layers.1.",),  # its last norm is for the class token alone
    ),
    "metaclip_2": (  # transformers loads its vision tower only with the other one
        lambda: transformers.MetaClip2Model(
            transformers.MetaClip2Config(vision_config=WIDE, text_config=TEXT)
        ),
        1,
        ("encoder.layers.1.",),
    ),
    "dinov2": (
        lambda: transformers.Dinov2Model(transformers.Dinov2Config(**SIZES)),
        1,
        ("encoder.layer.1.", "layernorm."),
    ),
    "dinov2_registers": (
        lambda: transformers.Dinov2WithRegistersModel(
            transformers.Dinov2WithRegistersConfig(**SIZES, num_register_tokens=4)
        ),
        5,
        ("encoder.layer.1.", "layernorm."),
    ),
    "vit": (lambda: transformers.ViTModel(transformers.ViTConfig(**WIDE)), 1, ("layers.1.", "layernorm.")),
    "deit": (lambda: transformers.DeiTModel(transformers.DeiTConfig(**WIDE)), 2, ("layers.1.", "layernorm.")),
}


def save(model: Any, folder: Path) -> str:
    model.save_pretrained(folder)
    statistics = {"image_mean": MEAN, "image_std": STD}
    (folder / "preprocessor_config.json").write_text(json.dumps(statistics))
    return str(folder)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_tokens_are_the_patches_of_the_saved_weights(family: str, tmp_path: Path) -> None:
    build, prefix, _ = FAMILIES[family]
    model = build().eval()
    encoder = VisionEncoder(EncoderSpec(save(model, tmp_path), 32)).eval()
    views = torch.rand(2, 3, 3, 32, 32)
    pixels = (views.flatten(0, 1) - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    alone = getattr(model, "vision_model", model)
    want = alone(pixel_values=pixels).last_hidden_state[:, prefix:].unflatten(0, (2, 3))
    assert encoder.num_prefix_tokens == prefix
    assert (encoder.dim, encoder.patch_size, encoder.grid) == (16, 8, (4, 4))
    torch.testing.assert_close(encoder(views), want)


@pytest.mark.parametrize("family", FAMILIES)
def test_train_blocks(family: str, tmp_path: Path) -> None:
    """What is trained is named by the option, and all of it gets a gradient: an unused one would stop DDP."""
    build, _, last = FAMILIES[family]
    source = save(build(), tmp_path)

    def trained(count: int) -> dict[str, torch.nn.Parameter]:
        encoder = VisionEncoder(EncoderSpec(source, 32, count))
        found = {name: p for name, p in encoder.backbone.named_parameters() if p.requires_grad}
        if found:
            encoder(torch.rand(1, 1, 3, 32, 32)).square().sum().backward()
            assert [name for name, parameter in found.items() if parameter.grad is None] == []
        return found

    assert not trained(0)
    one, everything = trained(1), trained(-1)
    assert {name.startswith(last) for name in one} == {True}
    assert {prefix for prefix in last if any(name.startswith(prefix) for name in one)} == set(last)
    assert any(name.startswith("embeddings.") for name in everything)
    assert one.keys() < everything.keys()
    with pytest.raises(ValueError, match="`train_blocks` must be from -1 to 2"):
        trained(3)


@pytest.mark.parametrize("family", FAMILIES)
def test_views_of_another_size(family: str, tmp_path: Path) -> None:
    encoder = VisionEncoder(EncoderSpec(save(FAMILIES[family][0](), tmp_path), 48))
    assert encoder(torch.rand(1, 2, 3, 48, 48)).shape == (1, 2, 36, 16)


def test_pixels_are_normalised_by_the_encoder() -> None:
    """SigLIP's statistics map grey 0.5 to zero: the patch embedding of a grey view is its bias."""
    encoder = VisionEncoder(EncoderSpec("tiny", 96))
    seen = []
    encoder.backbone.register_forward_pre_hook(
        lambda _, __, kwargs: seen.append(kwargs["pixel_values"]), with_kwargs=True
    )
    encoder(torch.full((1, 1, 3, 96, 96), 0.5))
    assert float(seen[0].abs().max()) == 0


def test_unknown_statistics_are_an_error(tmp_path: Path) -> None:
    FAMILIES["vit"][0]().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="no normalisation statistics"):
        VisionEncoder(EncoderSpec(str(tmp_path), 32))


def test_view_sizes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="multiple of the patch size 8"):
        VisionEncoder(EncoderSpec("tiny", 100))
    with pytest.raises(ValueError, match=r"H=96, W=96; got \[1,2,3,64,64\]"):
        VisionEncoder(EncoderSpec("tiny", 96))(torch.rand(1, 2, 3, 64, 64))


def test_set_trainable_returns_to_the_choice_of_the_spec() -> None:
    encoder = VisionEncoder(EncoderSpec("tiny", 32, 1))
    first = {name for name, p in encoder.named_parameters() if p.requires_grad}
    encoder.set_trainable(False)
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    encoder.set_trainable(True)
    assert {name for name, p in encoder.named_parameters() if p.requires_grad} == first


def test_missing_weights_are_an_error(tmp_path: Path) -> None:
    source = save(FAMILIES["dinov2"][0](), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(ValueError, match=r"complete weights; got none for \['encoder.layer.2."):
        VisionEncoder(EncoderSpec(source, 32))


def test_models_that_are_no_plain_vision_transformers(tmp_path: Path) -> None:
    sizes = {name: value for name, value in WIDE.items() if name != "image_size"}
    other = transformers.Siglip2VisionModel(transformers.Siglip2VisionConfig(**sizes))
    with pytest.raises(ValueError, match=r"cannot encode a view of 32 pixels: .*spatial_shapes"):
        VisionEncoder(EncoderSpec(save(other, tmp_path / "siglip2"), 32))
    hierarchical = {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 1], "image_size": 32, "window_size": 2}
    swin = transformers.SwinModel(transformers.SwinConfig(**hierarchical))
    with pytest.raises(ValueError, match="vision transformer with 8x8 patch tokens after 0 class"):
        VisionEncoder(EncoderSpec(save(swin, tmp_path / "swin"), 32))


CONVOLUTIONAL: dict[str, Callable[[], Any]] = {
    "resnet": lambda: transformers.ResNetModel(
        transformers.ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic")
    ),
    "convnext": lambda: transformers.ConvNextModel(
        transformers.ConvNextConfig(num_stages=2, hidden_sizes=[4, 8], depths=[1, 1])
    ),
}


@pytest.mark.parametrize("family", CONVOLUTIONAL)
def test_a_convolutional_network_gives_its_last_features_row_by_row(family: str, tmp_path: Path) -> None:
    model = CONVOLUTIONAL[family]().eval()
    encoder = VisionEncoder(EncoderSpec(save(model, tmp_path), 64)).eval()
    views = torch.rand(2, 3, 3, 64, 64)
    pixels = (views.flatten(0, 1) - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    want = model(pixel_values=pixels).last_hidden_state
    assert (encoder.dim, encoder.patch_size, encoder.grid) == (8, 8, (8, 8))
    torch.testing.assert_close(encoder(views)[1, 2], want[5].permute(1, 2, 0).flatten(0, 1))


@pytest.mark.parametrize("family", CONVOLUTIONAL)
def test_stages_of_a_convolutional_network_are_trained_from_the_last(family: str, tmp_path: Path) -> None:
    source = save(CONVOLUTIONAL[family](), tmp_path)
    encoder = VisionEncoder(EncoderSpec(source, 64, 1))
    found = {name: p for name, p in encoder.backbone.named_parameters() if p.requires_grad}
    assert found
    assert all(name.startswith("encoder.stages.1.") for name in found)
    encoder(torch.rand(1, 2, 3, 64, 64)).square().sum().backward()
    assert [name for name, parameter in found.items() if parameter.grad is None] == []


@pytest.mark.parametrize("train_blocks", [0, 1])
def test_statistics_of_batches_stay_where_they_are_frozen(train_blocks: int) -> None:
    encoder = VisionEncoder(EncoderSpec("tiny_resnet", 64, train_blocks)).train()
    before = {name: value.clone() for name, value in encoder.named_buffers()}
    encoder(torch.rand(2, 2, 3, 64, 64))
    moved = {name for name, value in encoder.named_buffers() if not torch.equal(value, before[name])}
    assert all(".stages.2." in name for name in moved)
    assert bool(moved) == bool(train_blocks)


def test_a_position_code_that_cannot_be_interpolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fixed(self: Any, *_: Any, **__: Any) -> torch.Tensor:
        raise ValueError("no interpolation")

    source = save(FAMILIES["vit"][0](), tmp_path)
    module = transformers.models.vit.modeling_vit.ViTEmbeddings
    monkeypatch.setattr(module, "interpolate_pos_encoding", fixed)
    VisionEncoder(EncoderSpec(source, 32))
    with pytest.raises(ValueError, match=r"48 pixels: no interpolation. Set `image_size` to that of"):
        VisionEncoder(EncoderSpec(source, 48))


def test_a_source_that_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"VisionEncoder: `source` must be a model that can be loaded; got '"
    ):
        VisionEncoder(EncoderSpec(str(tmp_path)))
