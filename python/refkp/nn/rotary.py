"""Rotary position codes: channel pairs turned by the phases of their token."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Rotary:
    """Turns channel pairs (a, b) -> (a cos - b sin, b cos + a sin); make one with `rotary` and call it.

    The code of one position serves every attention layer, so it is made once and handed to them.
    """

    cos: Tensor  # [..., groups, pairs], broadcasts against the tokens
    sin: Tensor
    interleaved: bool

    def __call__(self, tokens: Tensor) -> Tensor:
        """Turn tokens [...,D]; returns a new tensor of their dtype, computed in float32 or the table's dtype.

        Any strides; gradients reach the tokens (the turn by the negative phases).
        """
        groups, pairs = self.cos.shape[-2:]
        shape, member = ((groups, pairs, 2), -1) if self.interleaved else ((groups, 2, pairs), -2)
        a, b = tokens.unflatten(-1, shape).unbind(member)
        turned = torch.stack((a * self.cos - b * self.sin, b * self.cos + a * self.sin), member)
        return turned.flatten(-3).to(tokens.dtype)


def rotary(phases: Tensor, *, interleaved: bool, mask: Tensor | None = None) -> Rotary:
    """The rotary code of phases, in at least float32.

    Pair k of group g consists of the neighbours (2k, 2k+1) with `interleaved`, otherwise of (k, k + pairs) in
    the group's 2 * pairs channels. Groups follow each other.

    Args:
        phases: [..., groups, pairs] radians; leading axes broadcast against those of the tokens before D.
        interleaved: which channels form a pair.
        mask: bool, the leading axes of `phases`; tokens where it is False are left as they are.

    >>> rotary(torch.tensor([[torch.pi / 2]]), interleaved=True)(torch.tensor([1.0, 0.0])).round().tolist()
    [-0.0, 1.0]
    """
    phases = phases.to(torch.promote_types(phases.dtype, torch.float32))
    if mask is not None:
        phases = phases.where(mask[..., None, None], 0.0)
    return Rotary(phases.cos(), phases.sin(), interleaved)
