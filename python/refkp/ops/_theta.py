"""Checks of `theta` [B,2,3] and its pixel form, shared by the two affine ops; its inverse, by all warps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from refkp._checks import fail, require_input, require_same

#: |det A| below this fraction of |A|^2 counts as singular.
_SINGULAR = 1e-9
#: Tap offsets are int32 in the kernels.
_MAX_PLANE = 2**31 - 1


def check_theta(function: str, theta: Tensor, image_name: str, image: Tensor) -> None:
    """Shape, dtype and device of `theta`; its values are read by `check_theta_values`."""
    require_input(function, "theta", theta, "B,2,3", B=image.shape[0])
    require_same(function, "theta", theta, image_name, image, dtype=False)


def check_theta_values(function: str, theta: Tensor) -> None:
    """Raise ValueError for a non-finite or singular theta. CUDA tensors are not read: that would stall the stream."""
    if theta.device.type != "cpu":
        return
    values = theta.detach().double()
    (a, b, _), (c, d, _) = (row.unbind(-1) for row in values.unbind(-2))
    det, square = a * d - b * c, values[:, :, :2].square().sum((1, 2))
    regular = det.abs() > _SINGULAR * square  # not for NaN
    usable = regular & values.isfinite().flatten(1).all(1)
    if bool(usable.all()):  # a tensor of torch.func has no values to read but by torch
        return
    item = int((~usable).nonzero()[0])
    got = f"item {item} = {values[item].tolist()}"
    if not bool(values[item].isfinite().all()):
        fail(function, "theta", "finite", got)
    rule = "invertible (the backward pass and `inverse=True` need its inverse)"
    fail(function, "theta", rule, f"{got} with determinant {float(det[item]):.3g}")


def check_plane(function: str, argument: str, size: Sequence[int]) -> None:
    """Raise ValueError for an empty plane (height, width) or one too large for int32 offsets."""
    height, width = size
    if height < 1 or width < 1:
        fail(function, argument, "at least 1 x 1 pixels", f"{height} x {width}")
    if (height + 2) * (width + 2) > _MAX_PLANE:
        fail(function, argument, "of fewer than 2^31 pixels", f"{height} x {width}", "Split it into tiles.")


def pixel_map(theta: Tensor, inverse: bool, in_size: Sequence[int], out_size: Sequence[int]) -> Tensor:
    """theta, or its inverse, in pixel indices: (px, py) = out[b] @ (j, i, 1); [B,2,3] float64.

    Grouped so that the identity and mirror maps come out exact.
    """
    theta = inverse_map(theta) if inverse else theta
    in_wh, out_wh = _width_height(theta, in_size, out_size)
    linear = theta[:, :, :2] * (in_wh / out_wh)
    constant = 0.5 * ((linear * (1 - out_wh)).sum(2, keepdim=True) + theta[:, :, 2:] * in_wh + (in_wh - 1))
    return torch.cat([linear, constant], dim=2)


def pixel_map_backward(
    theta: Tensor, inverse: bool, in_size: Sequence[int], out_size: Sequence[int], grad_map: Tensor
) -> Tensor:
    """The gradient of theta [B,2,3] from that of its pixel map, in closed form (custom ops run below autograd)."""
    in_wh, out_wh = _width_height(theta, in_size, out_size)
    grad_constant = 0.5 * grad_map[:, :, 2:]
    grad_linear = (grad_map[:, :, :2] + grad_constant * (1 - out_wh)) * (in_wh / out_wh)
    grad = torch.cat([grad_linear, grad_constant * in_wh], dim=2)
    if not inverse:
        return grad
    # With the 3x3 matrices Y = X^-1: dL/dX = -Y^T (dL/dY) Y^T.
    bottom = theta.new_tensor([0.0, 0.0, 1.0]).expand(theta.shape[0], 1, 3)
    y = torch.cat([inverse_map(theta), bottom], dim=1).transpose(1, 2)
    return -(y[:, :2, :2] @ grad @ y)


def inverse_map(theta: Tensor) -> Tensor:
    """The inverses of affine maps [B,2,3].

    In closed form: `torch.linalg.inv` waits for the device, and raises where NaN is wanted.
    """
    (a, b), (c, d) = (row.unbind(-1) for row in theta[:, :, :2].unbind(-2))
    adjugate = torch.stack([torch.stack([d, -b], dim=-1), torch.stack([-c, a], dim=-1)], dim=-2)
    linear = adjugate / (a * d - b * c)[:, None, None]
    return torch.cat([linear, -linear @ theta[:, :, 2:]], dim=2)


def _width_height(theta: Tensor, in_size: Sequence[int], out_size: Sequence[int]) -> tuple[Tensor, Tensor]:
    in_wh = theta.new_tensor([in_size[1], in_size[0]]).view(1, 2, 1)
    return in_wh, theta.new_tensor([out_size[1], out_size[0]]).view(1, 1, 2)
