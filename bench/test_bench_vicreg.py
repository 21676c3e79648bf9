"""vicreg against autograd through the D x D covariance matrices, and through the L x L Gram matrices."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bench.support import Compare, Row, nbytes, with_backward
from refkp.ops import vicreg
from refkp.peers import vicreg as peers

#: (P, L, D) -> the wanted ratio of forward and backward to the best D x D form, at once or by 8 pairs.
SHAPES = {
    (64, 98, 768): 12.0,
    (1, 2048, 2048): None,
    (1, 512, 64): 1.0,
    (1, 2048, 256): 1.0,
    (1, 12544, 768): 1.0,
}
#: More of one segment than of others with L > D and L >= D.
LARGE = ((1, 2048, 2048), (1, 12544, 768))
MODES = ("forward", "forward+backward", "forward+backward, Gram peer")


def peer_steps(x: Tensor, y: Tensor, num_pairs: int, mode: str) -> dict[str, Callable[[], Tensor]]:
    strips_x, strips_y = (z.view(num_pairs, -1, z.shape[1]) for z in (x, y))
    if mode.endswith("Gram peer"):
        return {"torch L x L": lambda: peers.vicreg(strips_x, strips_y, peers.vicreg_gram)}
    steps = {"torch D x D": lambda: peers.vicreg(strips_x, strips_y, peers.vicreg_covariance)}
    if num_pairs > 8:
        steps["torch D x D by 8"] = lambda: peers.vicreg(strips_x, strips_y, peers.vicreg_covariance, 8)
    return steps


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "shape",
    [pytest.param(shape, marks=[pytest.mark.large] * (shape in LARGE)) for shape in SHAPES],
    ids=str,
)
def test_bench_vicreg(shape: tuple[int, int, int], mode: str, compare: Compare, device: str) -> None:
    num_pairs, length, dim = shape
    if mode.endswith("Gram peer") and length > dim:
        pytest.skip("nobody would take the L x L matrix for L > D")
    backward = mode != "forward"
    x, y = (torch.randn(num_pairs * length, dim, device=device).requires_grad_(backward) for _ in range(2))
    offsets = torch.arange(num_pairs + 1) * length
    leaves = [x, y] if backward else []
    compare(
        Row(
            op="vicreg",
            mode=mode,
            shape=shape,
            dtype=x.dtype,
            device=device,
            ours=with_backward(lambda: vicreg(x, y, offsets).total, leaves),
            peers={
                name: with_backward(step, leaves) for name, step in peer_steps(x, y, num_pairs, mode).items()
            },
            reference=with_backward(lambda: vicreg(x, y, offsets, backend="reference").total, leaves),
            target=SHAPES[shape] if mode == "forward+backward" else None,
            bytes=(3 if backward else 1) * nbytes(x, y),
            flops=(6 if backward else 2) * x.numel() * min(length, dim),
        )
    )
