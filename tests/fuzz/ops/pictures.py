"""Random calls of `camera_warp`."""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor

from refkp.ops import camera_warp
from tests.fuzz.ops import draws
from tests.fuzz.ops.draws import Sample, often
from tests.support.op_call import OpCall

#: Pixels of an output this much smaller cover whole pictures.
SMALLEST = 0.02


def random_picture(rng: random.Random) -> Sample:
    batch, height, width = rng.choice((0, 1, 1, 2, 3)), draws.side(rng), draws.side(rng)
    image = draws.tensor(rng, batch, rng.choice((0, 1, 2, 3, 3, 4, 5, 9)), height, width)
    cameras, kind = _cameras(rng, batch, height, width)
    size = (often(rng, rng.choice((1, 2, 3, 5, 9)), (0,)), rng.choice((1, 2, 3, 5, 8, 33, 67)))
    options: dict[str, Any] = {"size": size, "antialias": rng.random() < 0.6}
    fills = [0.3 * c for c in range(image.shape[1])]
    options["fill"] = often(rng, rng.choice((0.0, 0.7, fills)), draws.ODD_NUMBERS)
    general = kind == "general"
    exact = general and rng.random() < 0.2
    image = _stored(rng, draws.planted(rng, image) if exact else image)
    wanted = ("image",) if image.is_floating_point() and rng.random() < 0.6 else ()
    tensors = {"image": image, **{name: draws.strided(rng, tensor) for name, tensor in cameras.items()}}
    call = OpCall("camera_warp", camera_warp, tensors, wanted, wide=tuple(cameras), options=options)
    # Where the map ends at a fold or a side of a footprint becomes a sample, rounding may choose the other side.
    return Sample(call, exact and not options["antialias"], discontinuous=True)


def _cameras(rng: random.Random, batch: int, height: int, width: int) -> tuple[dict[str, Tensor], str]:
    focal = max(width, 1) * rng.uniform(0.5, 2.0)
    K = torch.tensor([[focal, 0.1, width / 2 + 0.3], [0.0, 1.1 * focal, height / 2 - 0.2], [0.0, 0.0, 1.0]])
    intrinsics = K.double().repeat(batch, 1, 1)
    distortion = draws.tensor(rng, batch, 5) * torch.tensor([0.3, 0.1, 0.01, 0.01, 0.02])
    turn = torch.eye(2, 3, dtype=torch.float64) + 0.2 * draws.tensor(rng, batch, 2, 3)
    affine = turn * rng.choice((1.0, 1.0, rng.uniform(SMALLEST, 0.5), rng.uniform(1.0, 20.0)))
    kind = rng.choice(("general",) * 6 + ("plain", "wild", "broken"))
    if kind == "plain":
        distortion = torch.zeros_like(distortion)
        affine = torch.eye(2, 3, dtype=torch.float64).repeat(batch, 1, 1) * rng.choice((0.25, 0.5, 1.0, 2.0))
    elif kind == "wild":
        distortion = distortion * 10.0 ** rng.uniform(0, 0.7)
        affine[..., 2] *= 10.0 ** rng.uniform(0, 6)
    elif kind == "broken" and batch:
        tensor = rng.choice((intrinsics, distortion, affine))
        tensor[rng.randrange(batch)] = rng.choice((0.0, 1e-5, *draws.NOT_FINITE))
    return {"intrinsics": intrinsics, "distortion": distortion, "affine": affine}, kind


def _stored(rng: random.Random, image: Tensor) -> Tensor:
    """As pictures come: floats of any strides, or bytes, in planes or interleaved."""
    if rng.random() < 0.5:
        return draws.expanded(rng, draws.strided(rng, image.to(draws.dtype(rng))))
    pixels = (128 + 40 * image.nan_to_num(0, 0, 0)).clamp(0, 255).to(torch.uint8)
    if rng.random() < 0.6:
        pixels = pixels.permute(0, 2, 3, 1).contiguous()
        rows = slice(rng.randrange(2), None) if pixels.shape[1] > 1 else slice(None)
        pixels = pixels[:, rows].permute(0, 3, 1, 2)
    return pixels
