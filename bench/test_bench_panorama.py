"""The panorama system: views against py360convert and OpenCV, overlap losses against plain torch.

The losses' peers judge: they share no code with the kernel, and the reference of `ops.vicreg` has its own suite.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bench import peers
from bench.support import Compare, Row, nbytes, with_backward
from bench.test_bench_e2p import ERP, smooth_erp
from refkp.data.pixels import IMAGENET
from refkp.ops.compositions import vicreg_covariance, vicreg_gram
from refkp.systems.panorama.losses import compositions, overlap_vicreg, sequential_strip_vicreg
from refkp.systems.panorama.overlaps.spec import PairRule
from refkp.systems.panorama.views.layout import ErpLayout
from refkp.systems.panorama.views.rendering import render_views

SIDE = 224
GRID = (14, 14)
LAYOUT = ErpLayout.build()
BACKWARD = "forward+backward"
#: (samples, D), mode -> the wanted ratio to the best D x D form. The smaller sizes show how the memory grows
#: with P and D.
CONTESTS = {
    ((8, 768), "forward"): None,
    ((8, 768), BACKWARD): 8.0,
    ((8, 768), f"{BACKWARD}, Gram peer"): None,
    ((8, 768), f"{BACKWARD}, pairs found anew"): None,
    ((4, 768), BACKWARD): None,
    ((8, 384), BACKWARD): None,
}

Loss = Callable[[], Tensor]


@pytest.mark.parametrize("memory", ["interleaved", "planar"])
def test_bench_panorama_views(memory: str, compare: Compare, device: str) -> None:
    """Nine views of a 4096 x 2048 panorama; picture decoders leave it interleaved."""
    if device != "cpu":
        pytest.skip("py360convert runs on the CPU")
    yaws = [tile.yaw_deg for tile in LAYOUT.tiles]
    planar = smooth_erp(device)
    pixels = planar[0].permute(1, 2, 0).contiguous()
    erp = planar if memory == "planar" else pixels.permute(2, 0, 1)[None]

    def ours() -> Tensor:
        return render_views(erp, LAYOUT, SIDE, antialias="mip").normalised(IMAGENET).pixels[0]

    def peer() -> Tensor:
        return peers.views_py360convert(pixels, yaws, SIDE, IMAGENET)

    compare(
        Row(
            op="panorama views",
            mode=f"forward {memory}",
            shape=ERP,
            dtype=torch.uint8,
            ours=ours,
            peers={"py360convert, warm cache, OpenCV": peer},
            target=5.0,
            bytes=nbytes(erp) + LAYOUT.num_views * 3 * SIDE * SIDE * 4,
            peer_tolerance=2e-2,  # it rounds positions to 1/32 px and tiles to bytes
        )
    )


def grid_steps(features: Tensor, mode: str) -> tuple[Loss, dict[str, Loss]]:
    device, rule = features.device, PairRule()
    table = compositions.build_table(LAYOUT, GRID, rule, device)
    if mode.endswith("anew"):
        ours = lambda: overlap_vicreg(features, compositions.build_table(LAYOUT, GRID, rule, device)).total  # noqa: E731
        return ours, {"torch pair by pair": lambda: compositions.grid_loss_loop(features, LAYOUT, GRID, rule)}
    if mode.endswith("Gram peer"):
        contenders = {"torch L x L": lambda: compositions.grid_loss(features, table, vicreg_gram)}
    else:
        contenders = {
            "torch D x D": lambda: compositions.grid_loss(features, table, vicreg_covariance),
            "torch D x D by 8": lambda: compositions.grid_loss(features, table, vicreg_covariance, 8),
        }
    return lambda: overlap_vicreg(features, table).total, contenders


@pytest.mark.parametrize(("size", "mode"), CONTESTS)
def test_bench_grid_loss(size: tuple[int, int], mode: str, compare: Compare, device: str) -> None:
    batch, dim = size
    backward = mode != "forward"
    shape = (batch, LAYOUT.num_views, GRID[0] * GRID[1], dim)
    features = torch.randn(shape, device=device, requires_grad=backward)
    leaves = [features] if backward else []
    ours, contenders = grid_steps(features, mode)
    compare(
        Row(
            op="panorama grid loss",
            mode=mode,
            shape=shape,
            dtype=features.dtype,
            device=device,
            ours=with_backward(ours, leaves),
            peers={name: with_backward(step, leaves) for name, step in contenders.items()},
            target=CONTESTS[size, mode],
            bytes=(2 if backward else 1) * nbytes(features),
        )
    )


@pytest.mark.parametrize("mode", ["forward", BACKWARD])
def test_bench_sequential_loss(mode: str, compare: Compare, device: str) -> None:
    backward = mode != "forward"
    tiles = torch.randn(8, 8, GRID[0] * GRID[1], 768, device=device, requires_grad=backward)
    leaves = [tiles] if backward else []
    contenders: dict[str, Loss] = {
        "torch D x D": lambda: compositions.strip_loss(tiles, GRID, 0.5, vicreg_covariance),
        "torch D x D by 8": lambda: compositions.strip_loss(tiles, GRID, 0.5, vicreg_covariance, 8),
    }
    compare(
        Row(
            op="panorama sequential loss",
            mode=mode,
            shape=tiles.shape,
            dtype=tiles.dtype,
            device=device,
            ours=with_backward(lambda: sequential_strip_vicreg(tiles, GRID, 0.5).total, leaves),
            peers={name: with_backward(step, leaves) for name, step in contenders.items()},
            bytes=(2 if backward else 1) * nbytes(tiles),
        )
    )
