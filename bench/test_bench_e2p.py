"""e2p against the torch composition (padded image, grid, grid_sample) and against py360convert."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.support import Compare, Row, nbytes, with_backward
from refkp.ops import e2p
from refkp.peers import e2p as peers

ERP = (1, 3, 2048, 4096)
YAWS = [45.0 * k - 180.0 for k in range(8)]
TILES = [(672, "none"), (224, "box"), (224, "mip")]


def smooth_erp(device: str) -> Tensor:
    """A panorama of low frequencies in uint8, which peers that quantise positions can reproduce."""
    lon, lat = torch.meshgrid(
        torch.arange(ERP[3]) * 2 * math.pi / ERP[3], torch.arange(ERP[2]) * math.pi / ERP[2]
    )
    waves = [torch.sin(3 * lon) * torch.sin(lat), torch.cos(5 * lon) * torch.sin(lat), torch.cos(4 * lat)]
    return torch.stack([127.5 + 127 * wave.mT for wave in waves])[None].round().to(device, torch.uint8)


def views(device: str) -> Tensor:
    """Eight level tiles around the horizon, [8,3,3]."""
    yaw = torch.deg2rad(torch.tensor(YAWS, dtype=torch.float64))
    cos, sin, zero, one = yaw.cos(), yaw.sin(), torch.zeros_like(yaw), torch.ones_like(yaw)
    return torch.stack([cos, zero, sin, zero, one, zero, -sin, zero, cos], 1).view(-1, 3, 3).to(device)


def tiles_bytes(side: int) -> int:
    """Float32 tiles."""
    return len(YAWS) * 3 * side * side * 4


@pytest.mark.parametrize("layout", ["planar", "interleaved"])
def test_bench_e2p_bytes(layout: str, compare: Compare, device: str) -> None:
    erp, rotation, side = smooth_erp(device), views(device), 672
    if layout == "interleaved":
        erp = erp.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    options = {"hfov_deg": 90.0, "size": (side, side)}

    def reference() -> Tensor:
        return e2p(erp, rotation, **options, backend="reference")

    compare(
        Row(
            op="e2p",
            mode=f"forward {layout}",
            shape=ERP,
            dtype=erp.dtype,
            device=device,
            ours=lambda: e2p(erp, rotation, **options),
            peers={
                "torch, image expanded": lambda: peers.e2p(erp, rotation, side),
                "torch, tiles stacked": lambda: peers.e2p_stacked(erp, rotation, side),
            },
            reference=reference if layout == "planar" else None,  # ten seconds a run
            target=3.0,
            bytes=nbytes(erp) + tiles_bytes(side),
            tolerance=1e-4,
            peer_tolerance=1e-3,
        )
    )


def test_bench_e2p_against_py360convert(compare: Compare, device: str) -> None:
    if device != "cpu":
        pytest.skip("py360convert runs on the CPU")
    erp, rotation, side = smooth_erp(device), views(device), 672
    pixels = erp[0].permute(1, 2, 0).contiguous()
    interleaved = pixels.permute(2, 0, 1)[None]
    options = {"hfov_deg": 90.0, "size": (side, side), "convention": "py360convert"}
    compare(
        Row(
            op="e2p",
            mode="forward py360convert",
            shape=ERP,
            dtype=erp.dtype,
            ours=lambda: e2p(interleaved, rotation, **options),
            peers={"py360convert, warm cache": lambda: peers.e2p_py360convert(pixels, YAWS, side)},
            target=2.0,
            bytes=nbytes(erp) + tiles_bytes(side),
            peer_tolerance=2e-2,  # it rounds positions to 1/32 px and results to bytes
        )
    )


@pytest.mark.parametrize("antialias", ["box", "mip"])
def test_bench_e2p_antialiased_bytes(antialias: str, compare: Compare, device: str) -> None:
    """Small tiles against tiles of three times the size that are resized: what users do otherwise."""
    erp, rotation, side = smooth_erp(device), views(device), 224
    pixels = erp[0].permute(1, 2, 0).contiguous()
    interleaved = pixels.permute(2, 0, 1)[None]
    options = {"hfov_deg": 90.0, "size": (side, side), "antialias": antialias}
    contenders = {
        "torch, 672 resized": lambda: peers.e2p_shrunk(erp, rotation, side, 3, antialias=False),
        "torch, 672 resized antialiased": lambda: peers.e2p_shrunk(erp, rotation, side, 3, antialias=True),
    }
    if device == "cpu":
        contenders["py360convert, 672 resized by area"] = lambda: peers.e2p_py360convert_shrunk(
            pixels, YAWS, side, 3
        )
    compare(
        Row(
            op="e2p",
            mode=f"forward {side} {antialias} interleaved",
            shape=ERP,
            dtype=erp.dtype,
            device=device,
            ours=lambda: e2p(interleaved, rotation, **options),
            own={"672, then bilinear": lambda: render_large(interleaved, rotation, side)},
            peers=contenders,
            target=5.0 if antialias == "mip" else 2.0,
            bytes=nbytes(erp) + tiles_bytes(side),
            tolerance=5e-3,  # each has a filter of its own
            peer_tolerance=2e-2,  # py360convert has another grid too, and rounds
        )
    )


def render_large(erp: Tensor, rotation: Tensor, side: int) -> Tensor:
    """Our tiles of three times the size, resized without antialiasing: one of nine pixels is used."""
    large = e2p(erp, rotation, hfov_deg=90.0, size=(3 * side, 3 * side))
    return F.interpolate(large, (side, side), mode="bilinear", align_corners=False)


@pytest.mark.parametrize(("side", "antialias"), TILES)
def test_bench_e2p_floats(side: int, antialias: str, compare: Compare, device: str) -> None:
    erp, rotation = smooth_erp(device).float().requires_grad_(), views(device)
    options = {"hfov_deg": 90.0, "size": (side, side), "antialias": antialias}
    contenders = {
        "none": lambda: peers.e2p_stacked(erp, rotation, side),
        "box": lambda: peers.e2p_stacked(erp, rotation, side, 6),  # the samples of "box" at this size
        "mip": lambda: peers.e2p_mip(erp, rotation, side),
    }
    compare(
        Row(
            op="e2p",
            mode=f"forward+backward {side} {antialias}",
            shape=ERP,
            dtype=erp.dtype,
            device=device,
            ours=with_backward(lambda: e2p(erp, rotation, **options), [erp]),
            peers={"torch, tiles stacked": with_backward(contenders[antialias], [erp])},
            target=3.0,
            bytes=2 * nbytes(erp) + 2 * tiles_bytes(side),
            peer_tolerance=5e-3,  # its float32 grid is good to about 1e-3 px
        )
    )
