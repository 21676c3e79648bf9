"""VICReg whose statistics cover the samples of all ranks of a distributed run, with the right gradient.

Source: spec panorama 3.1 (distributed).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed
from torch.nn import functional

from refkp._checks import fail, require_shape, shape_text
from refkp.nn.ranks import several_ranks
from refkp.ops import vicreg
from refkp.systems.panorama.losses.terms import LossTerms, VICRegOptions, mean_terms, weighted_terms


def shared_vicreg(
    x: Tensor,
    y: Tensor,
    options: VICRegOptions = VICRegOptions(),  # noqa: B008 (frozen)
    *,
    backend: str | None = None,
) -> LossTerms:
    """VICReg of sets of samples; in a distributed run the statistics of a set are over all ranks.

    The invariance is that of this rank. Variance and covariance are of the samples gathered from all ranks,
    and the backward pass of the gather adds the cotangents of all ranks, so that the gradients which DDP
    averages are those of the loss of the whole batch. Ranks may hold different numbers of samples.

    Args:
        x, y: [G,N,D], N samples for each of G sets.
        options, backend: as in `ops.vicreg`.

    Returns:
        Scalars, means over the sets; gradients reach `x` and `y`.

    Raises:
        ValueError: a set has fewer than two samples on all ranks together, or the ranks differ in G or D.
    """
    require_shape("shared_vicreg", "x", x, "G,N,D")
    require_shape("shared_vicreg", "y", y, "G,N,D", **dict(zip("GND", x.shape, strict=True)))
    if not several_ranks():
        return mean_terms(options, _set_terms(x, y, options, backend), "shared")
    all_x, all_y = gather_samples(torch.cat((x, y))).chunk(2)
    terms = _set_terms(all_x, all_y, options, backend)
    local = (x - y).square().mean()
    return weighted_terms(options, local, terms.variance.mean(), terms.covariance.mean(), "shared")


def gather_samples(samples: Tensor) -> Tensor:
    """The samples [G,N,D] of all ranks side by side, [G, sum of N, D], in the order of the ranks.

    The backward pass sums the cotangents over the ranks and returns the slice of this rank. Costs one wait
    for the sizes, which every rank must know.
    """
    sizes = _all_ranks(torch.tensor(samples.shape, device=samples.device)).tolist()
    if any(size[::2] != sizes[0][::2] for size in sizes):
        got = ", ".join(shape_text(size) for size in sizes)
        fail("gather_samples", "samples", "[G,N,D] with equal G and D on all ranks", got)
    return _GatherSamples.apply(samples, [size[1] for size in sizes])


def require_equal_on_ranks(function: str, argument: str, value: Tensor, remedy: str) -> None:
    """Raise ValueError on every rank unless `value` is the same on all of them."""
    if several_ranks():
        values = _all_ranks(value).tolist()
        if any(other != values[0] for other in values):
            fail(function, argument, "the same on all ranks", "different ones", remedy)


def _all_ranks(value: Tensor) -> Tensor:
    """`value` of every rank, stacked."""
    values = [torch.empty_like(value) for _ in range(distributed.get_world_size())]
    distributed.all_gather(values, value)
    return torch.stack(values)


def _set_terms(x: Tensor, y: Tensor, options: VICRegOptions, backend: str | None) -> Any:
    sets, samples, _ = x.shape
    if samples < 2:
        remedy = "Enlarge the batch, or take the statistics over scope 'pair'."
        fail("shared_vicreg", "x", "at least two samples in a set", samples, remedy)
    offsets = torch.arange(sets + 1) * samples
    return vicreg(x.flatten(0, 1), y.flatten(0, 1), offsets, **options.arguments(), backend=backend)


class _GatherSamples(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, samples: Tensor, counts: list[int]) -> Tensor:
        rank = distributed.get_rank()
        ctx.start, ctx.count = sum(counts[:rank]), counts[rank]
        # Collectives want one shape: pad to the largest rank, cut afterwards.
        padded = functional.pad(samples, (0, 0, 0, max(counts) - samples.shape[1]))
        parts = _all_ranks(padded.contiguous())
        return torch.cat([part[:, :count] for part, count in zip(parts, counts, strict=True)], 1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        total = grad.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total.narrow(1, ctx.start, ctx.count), None
