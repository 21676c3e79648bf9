"""`refkp panorama quality`: how near ways to render tiles come to supersampling, and what each takes.

Source: spec panorama 1.4 (antialiasing; the path of earlier implementations).
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from refkp._extras import named_extras
from refkp._measure import Timing, take_turns
from refkp.ops import e2p
from refkp.systems.panorama.commands.option_checks import require_counts
from refkp.systems.panorama.views.layout import ErpLayout, ViewRecord
from refkp.systems.panorama.views.spec import LayoutSpec

_LARGER = 3  # the path of earlier implementations renders this many times as large
_SAMPLES = 8  # supersampling: rays along either axis of a pixel
_EARLIER = f"render {_LARGER}x, then bilinear"

Render = Callable[[], Tensor]  # tiles [N,3,size,size]


class Row(NamedTuple):
    """One way to render the tiles of a layout."""

    name: str
    psnr_db: float  # against supersampling, of values in [0,255]
    time: Timing


def quality(argv: list[str]) -> int:
    """Compare antialiased tiles with 8x8 supersampling: PSNR and time of every way to render them."""
    with named_extras():
        from jsonargparse import ArgumentParser

    parser = ArgumentParser(prog="refkp panorama quality", description=quality.__doc__)
    parser.add_argument("panorama", type=str, help="a 2:1 equirectangular picture")
    parser.add_argument("--height", type=int | None, default=None, help="resize it to this many rows first")
    parser.add_argument("--size", type=int, default=224, help="side of the tiles in pixels")
    parser.add_argument("--layout", type=LayoutSpec, default=LayoutSpec(), help="the tile layout")
    parser.add_argument("--rounds", type=int, default=9, help="repetitions; all ways take turns")
    parser.add_argument(
        "--threads", type=int | None, default=None, help="threads of torch and of the kernels"
    )
    parser.add_argument("--json", type=str | None, default=None, help="file for the results")
    options = parser.instantiate(parser.parse_args(argv))

    from refkp.systems.panorama.views.images import read_panorama, stack_panoramas

    require_counts("quality", options, "height", "size", "rounds", "threads")
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    erp = stack_panoramas([read_panorama(options.panorama, options.height)])
    rows = compare(erp, ErpLayout.build(options.layout), options.size, options.rounds)
    earlier = next(row for row in rows if row.name == _EARLIER)
    print(
        f"{'tiles of ' + '{3}x{2}'.format(*erp.shape):28} {'PSNR':>10} {'':>9} {'median':>12} {'faster':>8}"
    )
    for row in rows:
        gain, ratio = row.psnr_db - earlier.psnr_db, earlier.time.median_s / row.time.median_s
        print(
            f"{row.name:28} {row.psnr_db:7.2f} dB {gain:+6.2f} dB {1e3 * row.time.median_s:9.2f} ms {ratio:7.2f}x"
        )
    if options.json:
        document = [{"name": row.name, "psnr_db": row.psnr_db, **row.time._asdict()} for row in rows]
        Path(options.json).write_text(json.dumps(document, indent=2) + "\n")
    return 0


def compare(erp: Tensor, layout: ErpLayout, size: int, rounds: int) -> list[Row]:
    """Every way to render the tiles of `layout` at `size` from bytes [1,3,H,2H]; the ways take turns."""
    ways = renderings(erp, layout, size)
    want = supersampled(erp, layout, size)
    psnr = {name: psnr_db(render(), want) for name, render in ways.items()}
    times = take_turns(ways, rounds)
    return [Row(name, psnr[name], times[name]) for name in ways]


def renderings(erp: Tensor, layout: ErpLayout, size: int) -> dict[str, Render]:
    """The ways by name: that of earlier implementations, the same with a filter, and ours."""
    tiles = functools.partial(_tiles, erp, layout.tiles)
    large, small = _LARGER * size, (size, size)
    return {
        _EARLIER: lambda: functional.interpolate(tiles(large), small, mode="bilinear"),
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
