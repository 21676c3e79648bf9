"""How near ways to render tiles come to supersampling, and what each takes.

Source: spec panorama 1.4 (antialiasing; the path of earlier implementations).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from refkp._measure import Timing, take_turns
from refkp.ops import e2p
from refkp.systems.panorama.views.layout import ErpLayout, ViewRecord

_LARGER = 3  # the path of earlier implementations renders this many times as large
_SAMPLES = 8  # supersampling: rays along either axis of a pixel

Render = Callable[[], Tensor]  # tiles [N,3,size,size]


class Quality(NamedTuple):
    """One way to render the tiles of a layout."""

    name: str
    psnr_db: float  # against supersampling, of values in [0,255]
    time: Timing


def compare_renderings(erp: Tensor, layout: ErpLayout, size: int, rounds: int) -> list[Quality]:
    """Every way to render the tiles of `layout` at `size` from bytes [1,3,H,2H]; the ways take turns."""
    ways = renderings(erp, layout, size)
    want = supersampled(erp, layout, size)
    psnr = {name: psnr_db(render(), want) for name, render in ways.items()}
    times = take_turns(ways, rounds)
    return [Quality(name, psnr[name], times[name]) for name in ways]


def renderings(erp: Tensor, layout: ErpLayout, size: int) -> dict[str, Render]:
    """The ways by name: first that of earlier implementations, then the same with a filter, and ours."""
    tiles = functools.partial(_tiles, erp, layout.tiles)
    large, small = _LARGER * size, (size, size)
    return {
        f"render {_LARGER}x, then bilinear": lambda: functional.interpolate(
            tiles(large), small, mode="bilinear"
        ),
        f"render {_LARGER}x, then filtered": lambda: functional.interpolate(
            tiles(large), small, mode="bilinear", antialias=True
        ),
        'e2p, antialias="none"': lambda: tiles(size),
        'e2p, antialias="mip"': lambda: tiles(size, antialias="mip"),
        'e2p, antialias="box"': lambda: tiles(size, antialias="box"),
    }


def supersampled(erp: Tensor, layout: ErpLayout, size: int) -> Tensor:
    """The mean of 8 x 8 rays through every pixel, one tile at a time."""
    rays = (_tiles(erp, [tile], _SAMPLES * size) for tile in layout.tiles)
    return torch.cat([functional.avg_pool2d(tile, _SAMPLES) for tile in rays])


def psnr_db(got: Tensor, want: Tensor) -> float:
    """10 log10(255^2 / mean squared difference); infinite for equal pictures."""
    error = float((got.double() - want.double()).square().mean())
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def _tiles(erp: Tensor, tiles: Sequence[ViewRecord], size: int, antialias: str = "none") -> Tensor:
    return e2p(
        erp,
        torch.stack([tile.rotation for tile in tiles]).float(),
        hfov_deg=[tile.hfov_deg for tile in tiles],
        vfov_deg=[tile.vfov_deg for tile in tiles],
        size=(size, size),
        antialias=antialias,
    )
