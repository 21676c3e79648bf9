"""One call of a public op, on any device, in any dtype, by any backend, with its gradients.

Needs torch alone, so that programs other than pytest can make the same calls.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Case(NamedTuple):
    """Where an op runs: backend, device type, floating dtype."""

    backend: str
    device: str
    dtype: torch.dtype


@dataclasses.dataclass(frozen=True)
class OpCall:
    """One call of a public op: its name, the function, tensors and options by argument name.

    `gradients` names the tensors that get gradients. `wide` names tensors that stay float32 when the others
    are half precision. Integer and bool tensors keep their dtype always.
    """

    op: str
    function: Callable[..., Any]
    tensors: Mapping[str, Tensor]
    gradients: tuple[str, ...] = ()
    wide: tuple[str, ...] = ()
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def to(self, device: str, dtype: torch.dtype) -> OpCall:
        """The same call on another device and in another floating dtype."""
        moved = {
            name: tensor.to(device, self._dtype_of(name, tensor, dtype))
            for name, tensor in self.tensors.items()
        }
        return dataclasses.replace(self, tensors=moved)

    def _dtype_of(self, name: str, tensor: Tensor, dtype: torch.dtype) -> torch.dtype:
        if not tensor.is_floating_point():
            return tensor.dtype
        return torch.float32 if name in self.wide and dtype.itemsize < 4 else dtype

    def outputs(self, backend: str, **tensors: Tensor) -> dict[str, Tensor]:
        """The outputs by name, with `tensors` in place of those of the call."""
        result = self.function(**{**self.tensors, **tensors}, **self.options, backend=backend)
        return dict(_named(result))

    def run(self, backend: str) -> dict[str, Tensor]:
        """Outputs, and gradients as grad_NAME for fixed random output gradients."""
        leaves = {name: self.tensors[name].detach().requires_grad_() for name in self.gradients}
        outputs = self.outputs(backend, **leaves)
        results = {name: value.detach() for name, value in outputs.items()}
        smooth = {name: value for name, value in outputs.items() if value.requires_grad}
        if leaves:
            grads = torch.autograd.grad(list(smooth.values()), list(leaves.values()), _cotangents(smooth))
            results |= {f"grad_{name}": grad for name, grad in zip(leaves, grads, strict=True)}
        return results


def _named(result: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(result, Tensor):
        yield "output", result
    elif hasattr(result, "_asdict"):
        yield from result._asdict().items()
    else:
        yield from ((f"output{i}", value) for i, value in enumerate(result))


def _cotangents(outputs: Mapping[str, Tensor]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    drawn = (torch.randn(value.shape, generator=generator, dtype=torch.float64) for value in outputs.values())
    return [draw.to(value) for draw, value in zip(drawn, outputs.values(), strict=True)]
