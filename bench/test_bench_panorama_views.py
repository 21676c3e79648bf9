"""A panorama to the normalised, antialiased views of the default layout, against py360convert and OpenCV."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bench import peers
from bench.support import Compare, Row, nbytes
from bench.test_bench_e2p import ERP, smooth_erp
from refkp.systems.panorama.layout import ErpLayout
from refkp.systems.panorama.pixels import IMAGENET
from refkp.systems.panorama.views import render_views

SIDE = 224


@pytest.mark.parametrize("memory", ["interleaved", "planar"])
def test_bench_panorama_views(memory: str, compare: Compare, device: str) -> None:
    """Nine views of a 4096 x 2048 panorama; picture decoders leave it interleaved."""
    if device != "cpu":
        pytest.skip("py360convert runs on the CPU")
    layout = ErpLayout.build()
    yaws = [tile.yaw_deg for tile in layout.tiles]
    planar = smooth_erp(device)
    pixels = planar[0].permute(1, 2, 0).contiguous()
    erp = planar if memory == "planar" else pixels.permute(2, 0, 1)[None]

    def ours() -> Tensor:
        return render_views(erp, layout, SIDE, antialias="mip").normalised(IMAGENET).pixels[0]

    def peer() -> Tensor:
        return peers.views_py360convert(pixels, yaws, SIDE, IMAGENET)

    compare(
        Row(
            op="panorama_views",
            mode=f"forward {memory}",
            shape=ERP,
            dtype=torch.uint8,
            ours=ours,
            peers={"py360convert, warm cache, OpenCV": peer},
            target=5.0,
            bytes=nbytes(erp) + layout.num_views * 3 * SIDE * SIDE * 4,
            peer_tolerance=2e-2,  # it rounds positions to 1/32 px and tiles to bytes
        )
    )
