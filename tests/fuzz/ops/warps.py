"""Random calls of `affine_warp` and `equivariance_loss`."""

from __future__ import annotations

import random
from typing import Any

import torch

from refkp.ops import affine_warp, equivariance_loss
from tests.fuzz.ops import draws
from tests.fuzz.ops.draws import Sample, often
from tests.support.op_call import OpCall


def random_warp(rng: random.Random) -> Sample:
    batch, channels = rng.choice((0, 1, 1, 2, 3)), rng.choice((0, 1, 2, 3, 4, 5, 9))
    theta, general, size = draws.theta(rng, often(rng, batch, (batch + 1,)))
    image = draws.tensor(rng, batch, channels, draws.side(rng), draws.side(rng))
    exact = general and rng.random() < 0.3
    image = draws.planted(rng, image) if exact else image
    tensors = {
        "image": draws.expanded(rng, draws.strided(rng, image.to(draws.dtype(rng)))),
        "theta": draws.strided(rng, theta.to(often(rng, torch.float64, (torch.float32, torch.float16)))),
    }
    options: dict[str, Any] = {"inverse": rng.random() < 0.4}
    if rng.random() < 0.5:
        options["size"] = (draws.side(rng), draws.side(rng))
    fills = [round(rng.uniform(-1, 1), 2) for _ in range(often(rng, channels, (channels + 1, 0)))]
    options["fill"] = often(rng, rng.choice((0.0, 0.7, fills)), draws.ODD_NUMBERS)
    call = OpCall("affine_warp", affine_warp, tensors, draws.some(rng, tensors), options=options)
    return Sample(call, exact, size, discontinuous=not general)


def random_loss(rng: random.Random) -> Sample:
    shape = (rng.choice((0, 1, 1, 2, 3)), rng.choice((0, 1, 2, 4, 5, 9)), draws.side(rng), draws.side(rng))
    theta, general, size = draws.theta(rng, shape[0])
    maps, warped = draws.tensor(rng, 2, *shape)
    exact = general and rng.random() < 0.3
    if exact:
        maps, warped = (
            (draws.planted(rng, maps), warped) if rng.random() < 0.5 else (maps, draws.planted(rng, warped))
        )
    dtype = draws.dtype(rng)
    tensors = {
        "maps": draws.expanded(rng, draws.strided(rng, maps.to(dtype))),
        "maps_warped": draws.strided(rng, warped.to(often(rng, dtype, draws.FLOATS, 0.03))),
        "theta": draws.strided(rng, theta),
    }
    options = {
        "coverage": rng.random() < 0.5,
        "reduction": often(rng, rng.choice(("mean", "none")), ("sum",)),
    }
    wanted = draws.some(rng, ("maps", "maps_warped"))
    call = OpCall("equivariance_loss", equivariance_loss, tensors, wanted, options=options)
    return Sample(call, exact, size, discontinuous=not general)
