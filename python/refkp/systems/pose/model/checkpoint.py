"""Published CroCo v2 files into the encoder (spec pose 1.1)."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor

from refkp._checks import fail, shape_text
from refkp.systems.pose.model.croco import CrocoEncoder

_ENCODER = ("patch_embed.", "enc_blocks.", "enc_norm.")
_REMEDY = (
    "Take a CroCo_V2_*.pth file, and an EncoderSpec of its size (ViTBase: preset `base`, ViTLarge: `large`)."
)


class LoadReport(NamedTuple):
    """Which parameters of a file were used."""

    loaded: tuple[str, ...]
    ignored: tuple[str, ...]  # of the decoder and the pretext task


def load_croco(encoder: CrocoEncoder, path: str | Path) -> LoadReport:
    """Copy the encoder's weights from a file with `model` (state dict) and `croco_kwargs`.

    The file is read without running any code in it. What belongs to the decoder is left out and reported.

    Args:
        encoder: changed in place, or, after an error, not at all.
        path: the file.

    Returns:
        The names of the parameters that were copied and of those that were left out.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file, weights of CroCo v1 or of another encoder, a missing or misshapen parameter.
    """
    weights, options = _read(Path(path))
    _require_rotary(encoder, options, weights, path)
    own = encoder.state_dict()
    for name, tensor in own.items():
        if name not in weights:
            _fail(f"a file with `{name}`", "none", path)
        if weights[name].shape != tensor.shape:
            shapes = (shape_text(tensor.shape), shape_text(weights[name].shape))
            _fail(f"a file with `{name}` of shape {shapes[0]}", shapes[1], path)
    extra = [name for name in weights if name not in own]
    if unread := [name for name in extra if name.startswith(_ENCODER)]:
        _fail(f"of an encoder of depth {encoder.spec.depth}", f"also `{unread[0]}`", path)
    encoder.load_state_dict({name: weights[name] for name in own})
    return LoadReport(tuple(own), tuple(extra))


def _read(path: Path) -> tuple[Mapping[str, Tensor], Mapping[str, Any] | None]:
    """The weights of a file and the constructor options stored beside them."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
        _fail("a checkpoint of plain tensors", str(error).partition("\n")[0], path)
    weights = content.get("model") if isinstance(content, Mapping) else None
    if not isinstance(weights, Mapping) or not all(isinstance(value, Tensor) for value in weights.values()):
        _fail("a dict with `model`, a state dict", type(content).__name__, path)
    return weights, content.get("croco_kwargs")


def _require_rotary(
    encoder: CrocoEncoder,
    options: Mapping[str, Any] | None,
    weights: Mapping[str, Tensor],
    path: str | Path,
) -> None:
    """Raise ValueError unless the file's encoder has rotary codes of the same base, and as many heads."""
    position = (options or {}).get("pos_embed", "cosine")
    if position == "cosine" or "enc_pos_embed" in weights:
        got = "CroCo v1, whose positions are added sines and cosines (`enc_pos_embed`)"
        _fail("CroCo v2, whose `croco_kwargs` name a RoPE position", got, path)
    wanted = f"RoPE{encoder.spec.rope_base:g}"
    if position != wanted:
        _fail(f"of position `{wanted}`", f"`{position}`", path)
    heads = (options or {}).get("enc_num_heads", 12)  # the default of CroCo's constructor
    if heads != encoder.spec.heads:
        _fail(f"of an encoder with {encoder.spec.heads} heads", f"{heads} heads", path)


def _fail(rule: str, got: str, path: str | Path) -> NoReturn:
    fail("load_croco", "path", rule, f"{got} in {Path(path).name}", _REMEDY)
