"""Files in the published form, made here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from refkp.systems.pose.model.checkpoint import load_croco
from refkp.systems.pose.model.croco import CrocoEncoder
from refkp.systems.pose.model.spec import EncoderSpec, VpogSpec
from refkp.systems.pose.model.vpog import Vpog
from refkp.verify.originals.croco_decoder import CrocoDecoder

SPEC = EncoderSpec(dim=48, depth=2, heads=12, patch_size=16, image_size=112)
OPTIONS = {"pos_embed": "RoPE100", "enc_embed_dim": 48, "enc_depth": 2, "enc_num_heads": 12}
DECODER = ("decoder_embed.", "dec_blocks.", "dec_norm.", "prediction_head.", "mask_token")


def published(spec: EncoderSpec = SPEC) -> dict[str, Any]:
    weights = {**CrocoEncoder(spec).state_dict(), **CrocoDecoder(spec.dim, 32, 2, 2).state_dict()}
    weights |= {"mask_token": torch.zeros(1, 1, 32), "prediction_head.proj.weight": torch.zeros(768, 32)}
    return {"model": weights, "croco_kwargs": dict(OPTIONS)}


def test_the_encoder_is_loaded_and_the_rest_reported(tmp_path: Path) -> None:
    content = published()
    torch.save(content, tmp_path / "CroCo.pth")
    encoder = CrocoEncoder(SPEC)
    report = load_croco(encoder, tmp_path / "CroCo.pth")
    assert set(report.loaded) == set(encoder.state_dict())
    assert set(report.loaded) | set(report.ignored) == set(content["model"])
    assert all(name.startswith(DECODER) for name in report.ignored)
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, content["model"][name])


def test_the_model_starts_from_its_checkpoint(tmp_path: Path) -> None:
    content = published()
    torch.save(content, tmp_path / "CroCo.pth")
    model = Vpog(VpogSpec(EncoderSpec(**{**vars(SPEC), "checkpoint": str(tmp_path / "CroCo.pth")})))
    assert torch.equal(
        model.encoder.enc_blocks[1].attn.qkv.weight, content["model"]["enc_blocks.1.attn.qkv.weight"]
    )


def edited(change: str) -> Any:
    content = published()
    weights, options = content["model"], content["croco_kwargs"]
    if change == "missing":
        del weights["enc_blocks.1.mlp.fc2.bias"]
    elif change == "misshapen":
        weights["patch_embed.proj.weight"] = torch.zeros(48, 3, 8, 8)
    elif change == "deeper":
        weights["enc_blocks.2.norm1.weight"] = torch.ones(48)
    elif change == "v1":
        del content["croco_kwargs"]
        weights["enc_pos_embed"] = torch.zeros(49, 48)
    elif change == "cosine":
        options["pos_embed"] = "cosine"
    elif change == "base":
        options["pos_embed"] = "RoPE10"
    elif change == "heads":
        options["enc_num_heads"] = 6
    elif change == "no model":
        return {"weights": weights}
    return content


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", r"with `enc_blocks\.1\.mlp\.fc2\.bias`; got none in CroCo\.pth"),
        ("misshapen", r"`patch_embed\.proj\.weight` of shape \[48,3,16,16\]; got \[48,3,8,8\]"),
        ("deeper", r"of depth 2; got also `enc_blocks\.2\.norm1\.weight`"),
        ("v1", "got CroCo v1, whose positions are added"),
        ("cosine", "got CroCo v1"),
        ("base", "of position `RoPE100`; got `RoPE10`"),
        ("heads", "with 12 heads; got 6 heads"),
        ("no model", "a dict with `model`, a state dict; got dict"),
    ],
)
def test_a_file_that_does_not_fit_is_an_error_and_changes_nothing(
    tmp_path: Path, change: str, message: str
) -> None:
    torch.save(edited(change), tmp_path / "CroCo.pth")
    encoder = CrocoEncoder(SPEC)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        load_croco(encoder, tmp_path / "CroCo.pth")
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())


class Surprise:
    """Something that is no tensor."""


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    torch.save({"model": {"a": Surprise()}}, tmp_path / "CroCo.pth")
    with pytest.raises(ValueError, match="must be a checkpoint of plain tensors"):
        load_croco(CrocoEncoder(SPEC), tmp_path / "CroCo.pth")
    with pytest.raises(FileNotFoundError):
        load_croco(CrocoEncoder(SPEC), tmp_path / "none.pth")


def test_published_sizes() -> None:
    """Parameters and tensors of ViT-B, ViT-L and the whole net with the base decoder, without memory."""
    with torch.device("meta"):
        base, large = CrocoEncoder(EncoderSpec()), CrocoEncoder(EncoderSpec(dim=1024, depth=24, heads=16))
        decoder = CrocoDecoder(768, 768, 12, 12)
    millions = [sum(p.numel() for p in net.parameters()) / 1e6 for net in (base, large, decoder)]
    assert millions[:2] == [pytest.approx(85.65, abs=0.005), pytest.approx(303.1, abs=0.05)]
    assert len(base.state_dict()) == 148
    # Besides: the mask token, and the pretext head, a Linear from 768 to a patch of 16 x 16 colours.
    head = 768 * 16 * 16 * 3 + 16 * 16 * 3
    assert millions[0] + millions[2] + (768 + head) / 1e6 == pytest.approx(200.27, abs=0.005)
    assert len(base.state_dict()) + len(decoder.state_dict()) + 3 == 443
