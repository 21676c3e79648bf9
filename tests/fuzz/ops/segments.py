"""Random calls of `vicreg`."""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor

from refkp.ops import vicreg
from tests.fuzz.ops import draws
from tests.fuzz.ops.draws import Sample, often
from tests.support.op_call import OpCall

ROWS = (0, 1, 2, 3, 5, 8, 17, 33, 64, 97)


def random_segments(rng: random.Random) -> Sample:
    rows, dim = often(rng, rng.choice(ROWS), (130, 200)), often(rng, rng.choice(ROWS), (130, 200))
    x, y = draws.tensor(rng, 2, rows, dim)
    kind = rng.choice(("plain",) * 5 + ("constant", "shifted", "planted"))
    if kind == "constant":
        x = x[:1].expand(rows, dim)
    elif kind == "shifted":
        x = x + 10.0
    elif kind == "planted":
        x, y = (draws.planted(rng, x), y) if rng.random() < 0.5 else (x, draws.planted(rng, y))
    dtype = draws.dtype(rng)
    tensors = {
        "x": draws.strided(rng, x.to(dtype)),
        "y": draws.strided(rng, y.to(often(rng, dtype, draws.FLOATS, 0.03))),
    }
    if rng.random() < 0.8:
        tensors["offsets"] = _offsets(rng, rows)
    options: dict[str, Any] = {
        "coefficients": often(rng, (25.0, 25.0, 1.0), ((1.0, 0.0, -2.0), (1.0, 2.0), (1e3, 1.0, 1.0))),
        "gamma": often(rng, 1.0, (0.0, -1.0, 3.0, *draws.ODD_NUMBERS), 0.2),
        "eps": often(rng, 1e-4, (1.0, 1e-8, *draws.ODD_NUMBERS), 0.1),
        "unbiased": rng.random() < 0.5,
        "covariance": often(rng, rng.choice(("sum", "mean")), ("max",)),
    }
    call = OpCall("vicreg", vicreg, tensors, draws.some(rng, ("x", "y")), options=options)
    return Sample(call, exact=kind == "planted", conditioning=100.0 if kind == "shifted" else 1.0)


def _offsets(rng: random.Random, rows: int) -> Tensor:
    """Bounds with empty segments, rarely wrong ones."""
    inner = sorted(rng.choices(range(rows + 1), k=rng.randrange(6)))
    bounds = [0, *inner, *rng.choice(((), (rows,), (rows, rows))), rows]
    kind = often(rng, "right", ("descending", "beyond", "empty", "float"), 0.08)
    if kind == "descending":
        bounds.insert(1, rows + 1)
    elif kind == "beyond":
        bounds[-1] += rng.choice((1, 1000, -1))
    elif kind == "empty":
        bounds = rng.choice(([], [0]))
    offsets = torch.tensor(bounds, dtype=torch.float32 if kind == "float" else torch.int64)
    return draws.strided(rng, offsets)
