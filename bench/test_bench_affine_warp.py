"""affine_warp against affine_grid + grid_sample."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bench.support import Compare, Row, nbytes, with_backward
from refkp.ops import affine_warp
from refkp.peers import warps as peers

SHAPES = [pytest.param((24, 3, 320, 320), marks=pytest.mark.large), (4, 10, 128, 128)]
#: Mode -> the inputs that get gradients, the wanted ratio, and passes over arrays of the image's size.
MODES = {
    "forward": ((), 1.8, 2),
    "forward+backward": (("image",), 2.5, 4),
    "forward+backward theta": (("image", "theta"), 2.5, 4),
}


def random_theta(batch: int, device: str) -> Tensor:
    """Rotations up to 30 degrees, scales 0.8 to 1.2, shifts up to a fifth of the image."""
    angle = torch.deg2rad(60 * torch.rand(batch) - 30)
    scale, shift = 0.8 + 0.4 * torch.rand(batch), 0.4 * torch.rand(batch, 2) - 0.2
    cos, sin = scale * angle.cos(), scale * angle.sin()
    return torch.stack((cos, -sin, shift[:, 0], sin, cos, shift[:, 1]), dim=1).view(batch, 2, 3).to(device)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_bench_affine_warp(shape: tuple[int, ...], mode: str, compare: Compare, device: str) -> None:
    gradients, target, passes = MODES[mode]
    image, theta = torch.rand(shape, device=device), random_theta(shape[0], device)
    inputs = {"image": image, "theta": theta}
    leaves = [inputs[name].requires_grad_() for name in gradients]
    compare(
        Row(
            op="affine_warp",
            mode=mode,
            shape=shape,
            dtype=image.dtype,
            device=device,
            ours=with_backward(lambda: affine_warp(image, theta), leaves),
            peers={"torch": with_backward(lambda: peers.affine_warp(image, theta), leaves)},
            reference=with_backward(lambda: affine_warp(image, theta, backend="reference"), leaves),
            target=target,
            # the gradient of theta jumps where a sample crosses a pixel; torch rounds that otherwise
            peer_tolerance=1e-2 if "theta" in gradients else None,
            bytes=passes * nbytes(image),
        )
    )
