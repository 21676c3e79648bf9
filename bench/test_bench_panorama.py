"""The panorama system: views against py360convert and OpenCV, overlap losses against plain torch.

The losses' peers judge: they share no code with the kernel, and the reference of `ops.vicreg` has its own suite.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bench.support import Compare, Row, nbytes, with_backward
from bench.test_bench_e2p import ERP, smooth_erp
from refkp.nn.pixels import IMAGENET
from refkp.peers import panorama as peers
from refkp.peers.vicreg import vicreg_covariance, vicreg_gram
from refkp.systems.panorama.losses import overlap_vicreg, sequential_strip_vicreg
from refkp.systems.panorama.overlaps.spec import PairRule
from refkp.systems.panorama.views.layout import ErpLayout
from refkp.systems.panorama.views.rendering import render_views

SIDE = 224
GRID = (14, 14)
LAYOUT = ErpLayout.build()
BACKWARD = "forward+backward"
GRAM = f"{BACKWARD}, Gram peer"
ANEW = f"{BACKWARD}, pairs found anew"
#: Mode -> the wanted ratio to the best D x D form.
MODES = {"forward": None, BACKWARD: 8.0, GRAM: None, ANEW: None}
#: (samples, D): a half and a quarter of either. Pairs grow with the samples, so the rows' peak memory beside that of
#: D x D matrices shows how it grows with P and with D.
FULL = (8, 768)
GROWTH = [(4, 768), (2, 768), (8, 384), (8, 192)]
SMALLEST = [(2, 768), (8, 192)]
CONTESTS = [*((FULL, mode) for mode in MODES), *((size, BACKWARD) for size in GROWTH)]

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
    table = peers.build_table(LAYOUT, GRID, rule, device)
    if mode == ANEW:
        ours = lambda: overlap_vicreg(features, peers.build_table(LAYOUT, GRID, rule, device)).total  # noqa: E731
        return ours, {"torch pair by pair": lambda: peers.grid_loss_loop(features, LAYOUT, GRID, rule)}
    if mode == GRAM:
        contenders = {"torch L x L": lambda: peers.grid_loss(features, table, vicreg_gram)}
    else:
        contenders = {
            "torch D x D": lambda: peers.grid_loss(features, table, vicreg_covariance),
            "torch D x D by 8": lambda: peers.grid_loss(features, table, vicreg_covariance, 8),
        }
    return lambda: overlap_vicreg(features, table).total, contenders


def grid_row(size: tuple[int, int], mode: str, device: str) -> Row:
    """The loss between tokens that see the same direction, for (samples, D)."""
    batch, dim = size
    backward = mode != "forward"
    shape = (batch, LAYOUT.num_views, GRID[0] * GRID[1], dim)
    features = torch.randn(shape, device=device, requires_grad=backward)
    leaves = [features] if backward else []
    ours, contenders = grid_steps(features, mode)
    return Row(
        op="panorama grid loss",
        mode=mode,
        shape=shape,
        dtype=features.dtype,
        device=device,
        ours=with_backward(ours, leaves),
        peers={name: with_backward(step, leaves) for name, step in contenders.items()},
        target=MODES[mode] if size == FULL else None,
        bytes=(2 if backward else 1) * nbytes(features),
    )


@pytest.mark.parametrize(
    ("size", "mode"),
    [
        pytest.param(size, mode, marks=[pytest.mark.large] * (mode == BACKWARD and size not in SMALLEST))
        for size, mode in CONTESTS
    ],
)
def test_bench_panorama_grid_loss(size: tuple[int, int], mode: str, compare: Compare, device: str) -> None:
    compare(grid_row(size, mode, device))


def sequential_row(size: tuple[int, int], mode: str, device: str) -> Row:
    """The loss between facing strips of consecutive tiles, for (samples, D)."""
    batch, dim = size
    backward = mode != "forward"
    tiles = torch.randn(batch, 8, GRID[0] * GRID[1], dim, device=device, requires_grad=backward)
    leaves = [tiles] if backward else []
    contenders: dict[str, Loss] = {"torch L x L": lambda: peers.strip_loss(tiles, GRID, 0.5, vicreg_gram)}
    if mode != GRAM:
        contenders = {
            "torch D x D": lambda: peers.strip_loss(tiles, GRID, 0.5, vicreg_covariance),
            "torch D x D by 8": lambda: peers.strip_loss(tiles, GRID, 0.5, vicreg_covariance, 8),
        }
    return Row(
        op="panorama sequential loss",
        mode=mode,
        shape=tiles.shape,
        dtype=tiles.dtype,
        device=device,
        ours=with_backward(lambda: sequential_strip_vicreg(tiles, GRID, 0.5).total, leaves),
        peers={name: with_backward(step, leaves) for name, step in contenders.items()},
        bytes=(2 if backward else 1) * nbytes(tiles),
    )


@pytest.mark.parametrize("mode", ["forward", BACKWARD, GRAM])
def test_bench_panorama_sequential_loss(mode: str, compare: Compare, device: str) -> None:
    compare(sequential_row(FULL, mode, device))
