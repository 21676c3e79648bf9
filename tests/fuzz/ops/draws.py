"""Random parts of a call: sizes with zeros and ones, strides, dtypes, values that are not finite."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from tests.support.op_call import OpCall

T = TypeVar("T")
SIDES = (1, 1, 2, 3, 4, 5, 7, 8, 13, 16, 33)
FLOATS = (torch.float32, torch.float64)
#: What a call may hold where numbers are asked for.
ODD_NUMBERS = (math.nan, math.inf, -math.inf, -1.0, 0.0, 1e30)
NOT_FINITE = (math.nan, math.inf, -math.inf)


class Sample(NamedTuple):
    """A call and how its result is judged."""

    call: OpCall
    exact: bool  # no tap without weight is near one with: what is not finite spreads to the same elements
    conditioning: float = 1.0  # by how much rounding of a position may be larger than usual
    discontinuous: bool = False  # a result may fall on either side of an edge


def often(rng: random.Random, usual: T, odd: Sequence[T], chance: float = 0.06) -> T:
    """`usual`, or rarely one of `odd`."""
    return rng.choice(odd) if rng.random() < chance else usual


def side(rng: random.Random) -> int:
    return often(rng, rng.choice(SIDES), (0, 70, 129), 0.05)


def dtype(rng: random.Random) -> torch.dtype:
    return often(rng, rng.choice(FLOATS), (torch.float16, torch.bfloat16, torch.int64, torch.uint8), 0.04)


def tensor(rng: random.Random, *shape: int) -> Tensor:
    """Normal float64 numbers."""
    generator = torch.Generator().manual_seed(rng.getrandbits(40))
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def strided(rng: random.Random, value: Tensor) -> Tensor:
    """The same values, in memory that may have gaps, another order of axes, or begin anywhere."""
    kind = rng.choice(("plain", "plain", "plain", "order", "gaps", "offset"))
    if kind == "plain" or value.dim() == 0:
        return value
    if kind == "order":
        order = rng.sample(range(value.dim()), value.dim())
        back = [order.index(axis) for axis in range(value.dim())]
        return value.permute(order).contiguous().permute(back)
    if kind == "gaps":
        axis = rng.randrange(value.dim())
        wide = torch.repeat_interleave(value, 3, axis)
        return wide[(slice(None),) * axis + (slice(1, None, 3),)]
    store = torch.cat((value.new_zeros(5), value.flatten()))
    return store[5:].view(value.shape)


def expanded(rng: random.Random, value: Tensor, axis: int = 0) -> Tensor:
    """Rarely one item that is repeated without memory of its own."""
    if value.shape[axis] < 2 or rng.random() > 0.1:
        return value
    return value.narrow(axis, 0, 1).expand(value.shape)


def planted(rng: random.Random, value: Tensor) -> Tensor:
    """A copy with one element that is not finite."""
    if value.numel() == 0 or not value.is_floating_point():
        return value
    copy = value.clone(memory_format=torch.contiguous_format)
    copy.view(-1)[rng.randrange(copy.numel())] = rng.choice(NOT_FINITE)
    return copy


def some(rng: random.Random, names: Sequence[str]) -> tuple[str, ...]:
    """A random part of the names, in their order."""
    return tuple(name for name in names if rng.random() < 0.6)


def theta(rng: random.Random, batch: int) -> tuple[Tensor, bool, float]:
    """[batch,2,3], whether its positions are in general place, and the size of its largest element or its inverse's."""
    kind = rng.choice(("moderate",) * 6 + ("lattice", "lattice", "extreme", "far", "broken"))
    values = torch.eye(2, 3, dtype=torch.float64).repeat(batch, 1, 1) + 0.3 * tensor(rng, batch, 2, 3)
    if kind == "lattice":
        turns = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], dtype=torch.float64)
        a, b = turns[rng.randrange(4)].tolist()
        values = torch.tensor([[a, b, rng.choice((0.0, 0.5, 2.0))], [-b, a, 0.0]], dtype=torch.float64)
        values = values.repeat(batch, 1, 1)
    elif kind == "extreme":
        values = values * 10.0 ** rng.uniform(-6, 6)
    elif kind == "far":
        values[..., 2] *= 10.0 ** rng.uniform(2, 14)
    elif kind == "broken" and batch:
        values[rng.randrange(batch)] = rng.choice((0.0, *NOT_FINITE))
    return values, kind == "moderate", _largest(values)


def _largest(theta: Tensor) -> float:
    """The size of the largest finite element of theta or of its inverse, at least 1."""
    linear = theta[..., :2].abs().amax((1, 2))
    inverse = linear / theta[..., :2].det().abs() * (1 + theta[..., 2].abs().amax(1))
    sizes = torch.cat((theta.abs().flatten(), inverse))
    return max(1.0, float(sizes[sizes.isfinite()].max())) if bool(sizes.isfinite().any()) else 1.0
