"""equivariance_loss against warping back with torch, then the mean squared difference."""

from __future__ import annotations

import pytest
import torch

from bench.support import Compare, Row, nbytes, with_backward
from bench.test_bench_affine_warp import SHAPES, random_theta
from refkp.ops import equivariance_loss
from refkp.peers import warps as peers

#: Mode -> whether the maps get gradients, the wanted ratio, and passes over arrays of the maps' size.
MODES = {"forward": (False, None, 2), "forward+backward": (True, 3.5, 4)}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_bench_equivariance_loss(shape: tuple[int, ...], mode: str, compare: Compare, device: str) -> None:
    backward, target, passes = MODES[mode]
    maps, maps_warped = (torch.rand(shape, device=device).requires_grad_(backward) for _ in range(2))
    theta = random_theta(shape[0], device)
    leaves = [maps, maps_warped] if backward else []
    compare(
        Row(
            op="equivariance_loss",
            mode=mode,
            shape=shape,
            dtype=maps.dtype,
            device=device,
            ours=with_backward(lambda: equivariance_loss(maps, maps_warped, theta), leaves),
            peers={"torch": with_backward(lambda: peers.equivariance_loss(maps, maps_warped, theta), leaves)},
            reference=with_backward(
                lambda: equivariance_loss(maps, maps_warped, theta, backend="reference"), leaves
            ),
            target=target,
            bytes=passes * nbytes(maps),
        )
    )
