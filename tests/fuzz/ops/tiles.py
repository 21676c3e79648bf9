"""Random calls of `e2p`."""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor

from refkp.ops import e2p
from tests.fuzz.ops import draws
from tests.fuzz.ops.draws import Sample, often
from tests.support.op_call import OpCall

FOVS = (1.0, 45.0, 90.0, 120.0, 150.0)
WIDE = (175.0, 179.0)
#: Along an axis they have pixels so near to a pole that in float32 they lie on it.
NARROWEST, WIDEST = 1e-3, 179.9999
BAD_FOVS: tuple[Any, ...] = (0.0, 180.0, -5.0, float("nan"), "90", [], [90.0, 30.0, 20.0, 10.0])


def random_tiles(rng: random.Random) -> Sample:
    images, count = rng.choice((0, 1, 1, 1, 2)), rng.choice((0, 1, 1, 2, 3))
    erp = draws.tensor(rng, images, rng.choice((0, 1, 2, 3, 3, 4, 5, 9)), draws.side(rng), _width(rng))
    convention = often(rng, rng.choice(("canonical", "py360convert", "equilib")), ("other",), 0.02)
    mode = often(rng, rng.choice(("bilinear", "bilinear", "nearest")), ("cubic",), 0.02)
    antialias = rng.choice(("none", "none", "box", "mip"))
    views, general = _views(rng, count)
    if not general and mode == "nearest":
        mode = "bilinear"  # views along axes lie on halves, where rounding may choose either pixel
    exact = general and mode == "bilinear" and antialias == "none" and rng.random() < 0.2
    erp = _stored(rng, draws.planted(rng, erp) if exact else erp)
    options: dict[str, Any] = {
        "size": (often(rng, rng.choice((1, 2, 3, 5, 9)), (0,)), rng.choice((1, 2, 3, 5, 8, 33, 67))),
        "hfov_deg": _fov(rng, antialias, count, general),
        "convention": convention,
        "mode": mode,
        "antialias": antialias,
    }
    if rng.random() < 0.3:
        options["vfov_deg"] = _fov(rng, antialias, count, general)
    tensors = {"erp": erp, "rotation": draws.strided(rng, views)}
    if images > 1 or rng.random() < 0.2:
        index = torch.tensor([rng.randrange(max(images, 1)) for _ in range(count)], dtype=torch.int64)
        tensors["image_index"] = index + often(rng, 0, (1, -1), 0.05)
    wanted = ("erp",) if erp.is_floating_point() and rng.random() < 0.6 else ()
    call = OpCall("e2p", e2p, tensors, wanted, wide=("rotation",), options=options)
    return Sample(call, exact, discontinuous=mode == "nearest" or not general)


def _width(rng: random.Random) -> int:
    return often(rng, 2 * rng.choice((1, 2, 3, 4, 8, 16, 33)), (0, 1, 7))


def _fov(rng: random.Random, antialias: str, count: int, general: bool) -> Any:
    """Wide ones only where a pixel takes one sample, which bounds the time."""
    narrow = (NARROWEST if general else FOVS[0], *FOVS)
    wide = (*WIDE, WIDEST if general else WIDE[-1])
    several = [rng.choice(narrow) for _ in range(count)]
    usual = rng.choice(narrow + (wide if antialias == "none" else ()))
    return often(rng, rng.choice((usual, usual, several)), BAD_FOVS)


def _views(rng: random.Random, count: int) -> tuple[Tensor, bool]:
    """[count,3,3], and whether they look in general directions."""
    turns = torch.linalg.qr(draws.tensor(rng, count, 3, 3))[0]
    turns = turns * torch.linalg.det(turns)[:, None, None]
    kind = rng.choice(("general",) * 6 + ("axes", "axes", "broken"))
    if kind == "axes":
        axes = torch.eye(3, dtype=torch.float64)[rng.sample(range(3), 3)]
        axes = axes * torch.tensor([rng.choice((-1.0, 1.0)) for _ in range(3)], dtype=torch.float64)
        turns = (axes * torch.linalg.det(axes)).expand(count, 3, 3)
    elif kind == "broken" and count:
        turns = turns * rng.choice((1.0004, 1.01, 0.0, -1.0, float("nan")))
    return turns, kind == "general"


def _stored(rng: random.Random, erp: Tensor) -> Tensor:
    """As pictures come: floats of any strides, or bytes, planar or interleaved."""
    if rng.random() < 0.6:
        return draws.expanded(rng, draws.strided(rng, erp.to(draws.dtype(rng))))
    pixels = (128 + 40 * erp.nan_to_num(0, 0, 0)).clamp(0, 255).to(torch.uint8)
    if rng.random() < 0.6:
        pixels = pixels.permute(0, 2, 3, 1).contiguous()
        rows = slice(rng.randrange(2), None) if pixels.shape[1] > 1 else slice(None)
        pixels = pixels[:, rows].permute(0, 3, 1, 2)
    return pixels
