"""Random calls of `flow_gt`."""

from __future__ import annotations

import random
from typing import Any

import torch

from refkp.ops.flow_gt.checks import RULES
from tests.fuzz.ops import draws
from tests.fuzz.ops.draws import Sample, often
from tests.support.flow_scenes import maps, random_scene
from tests.support.op_call import OpCall

#: Beyond this, what K^-1 adds and takes away of a row has no digit left of the pixel.
_LARGEST_SKEW = 1e6
MATRICES = ("K_src", "K_dst", "dst_from_src")


def random_flow(rng: random.Random) -> Sample:
    batch, targets = rng.choice((0, 1, 1, 2)), rng.choice((0, 1, 1, 2, 3))
    scene = random_scene(batch, targets, _size(rng), _size(rng), rng.getrandbits(30))
    dtype = draws.dtype(rng)
    for name in ("depth_src", "depth_dst"):
        scene[name] = (scene[name] * often(rng, 1.0, (1e-3, 1e6, 1e20), 0.1)).to(
            often(rng, dtype, draws.FLOATS, 0.02)
        )
    for name in MATRICES:
        scene[name] = often(rng, scene[name], (scene[name].float(), _broken(rng, scene[name])), 0.1)
    if batch * targets and rng.random() < 0.1:
        scene["dst_from_src"] = scene["dst_from_src"].clone()
        scene["dst_from_src"][..., 2, 3] -= rng.choice((450.0, 1e3))  # beside, in or behind the surface
    tensors = {name: draws.expanded(rng, draws.strided(rng, value)) for name, value in scene.items()}
    for name in ("mask_src", "mask_dst"):
        if rng.random() < 0.3:
            del tensors[name]
    options: dict[str, Any] = {
        "rule": often(rng, rng.choice(RULES), ("other",), 0.03),
        "pixel_offset": often(rng, rng.choice((0.0, 0.5)), (0.25,), 0.03),
        "tol_abs": often(rng, 8.0, (0.0, 0.5, *draws.ODD_NUMBERS), 0.1),
        "tol_rel": often(rng, 0.01, draws.ODD_NUMBERS, 0.1),
        "tol_px": often(rng, 2.0, draws.ODD_NUMBERS, 0.1),
    }
    call = OpCall("flow_gt", maps, tensors, wide=MATRICES, options=options)
    return Sample(call, exact=True, discontinuous=True)


def _size(rng: random.Random) -> tuple[int, int]:
    width = often(rng, draws.side(rng), (255, 257, 300), 0.05)
    return draws.side(rng), width


def _broken(rng: random.Random, matrices: torch.Tensor) -> torch.Tensor:
    """One element of a matrix is something else; a skew that leaves no digit of a row is not finite at once."""
    broken = matrices.clone()
    if broken.numel():
        broken.view(-1)[rng.randrange(broken.numel())] = rng.choice(draws.ODD_NUMBERS)
    if broken.shape[-2:] == (3, 3):
        skew = broken[..., 0, 1]
        skew[skew.isfinite() & (skew.abs() > _LARGEST_SKEW)] = torch.nan
    return broken
