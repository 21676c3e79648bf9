"""Template tokens turned by their template's pose: channels read as 3-vectors (spec pose 1.4)."""

from __future__ import annotations

import torch
from torch import Tensor

from refkp._checks import fail, require_trailing


def so3_channels(head_dim: int, fraction: float = 0.5) -> int:
    """The number of channels that turn: 3 floor(round(fraction D) / 3).

    >>> so3_channels(64)
    30
    """
    return 3 * (round(head_dim * fraction) // 3)


def so3_rotate(tokens: Tensor, rotation: Tensor, channels: int) -> Tensor:
    """Multiply the first channels of tokens, read as 3-vectors v, by R^T: v -> R^T v.

    The product of two turned vectors, v^T R_i R_j^T w, depends on the relative rotation of the two templates
    alone: a turn of the object's frame, R -> R Q, leaves it. Computed in at least float32.

    Args:
        tokens: [...,N,D].
        rotation: [...,3,3], object to camera; leading axes broadcast against those of `tokens` before N.
        channels: how many channels turn, a multiple of 3 and at most D.

    Returns:
        The shape and dtype of `tokens`; gradients reach them.
    """
    require_trailing("so3_rotate", "rotation", rotation, "3,3")
    if channels % 3 or not 0 <= channels <= tokens.shape[-1]:
        rule = f"a multiple of 3 from 0 to D={tokens.shape[-1]}"
        fail("so3_rotate", "channels", rule, channels)
    vectors, rest = tokens[..., :channels].unflatten(-1, (-1, 3)), tokens[..., channels:]
    # Products by hand: under mixed precision a matrix product would round the rotation to half precision.
    matrix = rotation.to(torch.promote_types(tokens.dtype, torch.float32))[..., None, None, :, :]
    x, y, z = vectors.split(1, -1)
    turned = x * matrix[..., 0, :] + y * matrix[..., 1, :] + z * matrix[..., 2, :]
    return torch.cat((turned.flatten(-2).to(tokens.dtype), rest), -1)
