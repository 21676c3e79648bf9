"""Gradients as the golden files store them: of fixed projections of the outputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor


def leaf(tensor: Tensor) -> Tensor:
    """A copy of an input that collects a gradient."""
    return tensor.detach().clone().requires_grad_()


def projected_gradients(
    outputs: Iterable[tuple[Tensor, Tensor | None]], inputs: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """d(sum of output * projection over all outputs)/d(input) under the names of `inputs`.

    Outputs without a projection are left out; with no projection at all there are no gradients.
    """
    pairs = [(output, projection) for output, projection in outputs if projection is not None]
    if not pairs:
        return {}
    gradients = torch.autograd.grad(
        [output for output, _ in pairs],
        list(inputs.values()),
        [projection.to(output.dtype) for output, projection in pairs],
        retain_graph=True,
    )
    return dict(zip(inputs, gradients, strict=True))


def scalar_gradients(scalar: Tensor, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """d(scalar)/d(input) under the names of `inputs`."""
    return projected_gradients([(scalar, torch.ones_like(scalar))], inputs)
