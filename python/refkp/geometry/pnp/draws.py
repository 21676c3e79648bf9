"""Random numbers of B objects, from one generator or from one for each object."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from refkp._checks import fail

#: One generator for all objects (None: the global one), or one for each object. The draws of an object from its own
#: generator do not depend on which others it is computed with.
Generators = torch.Generator | Sequence[torch.Generator] | None


def draw(
    sample: Callable[..., Tensor], shape: Sequence[int], axis: int, like: Tensor, generator: Generators
) -> Tensor:
    """Numbers of `shape`, of the dtype and on the device of `like`.

    Args:
        sample: `torch.rand` or `torch.randn`.
        shape: of the result.
        axis: of `shape`, that of the objects.
        like: tells dtype and device.
        generator: where the numbers come from.

    Raises:
        ValueError: not as many of them as objects.

    >>> each = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
    >>> second = draw(torch.rand, (3,), 0, torch.zeros(()), torch.Generator().manual_seed(1))
    >>> torch.equal(draw(torch.rand, (2, 3), 0, torch.zeros(()), each)[1], second)
    True
    """

    def numbers(shape: Sequence[int], generator: torch.Generator | None) -> Tensor:
        return sample(tuple(shape), generator=generator, dtype=like.dtype, device=like.device)

    if not isinstance(generator, Sequence):
        return numbers(shape, generator)
    if len(generator) != shape[axis]:
        fail("draw", "generator", f"one for each of {shape[axis]} objects", len(generator))
    own = [*shape[:axis], *shape[axis + 1 :]]
    return (
        torch.stack([numbers(own, each) for each in generator], axis) if generator else like.new_zeros(shape)
    )
