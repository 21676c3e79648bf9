"""`refkp panorama quality`: how near ways to render tiles come to supersampling, and what each takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from refkp._files import write_json
from refkp.commands import parsed, parser, require_counts, table
from refkp.systems.panorama.views.spec import LayoutSpec

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from refkp.systems.panorama.metrics.antialiasing import Quality

_COMMAND = "refkp panorama quality"


def quality(argv: list[str]) -> int:
    """Compare antialiased tiles with 8x8 supersampling: PSNR and time of every way to render them."""
    options = parsed(_parser(), argv)
    require_counts(_COMMAND, options, "height", "size", "rounds", "threads")

    import torch

    from refkp.systems.panorama.metrics.antialiasing import compare_renderings
    from refkp.systems.panorama.views.images import read_panorama, stack_panoramas
    from refkp.systems.panorama.views.layout import ErpLayout

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    erp = stack_panoramas([read_panorama(options.panorama, options.height)])
    found = compare_renderings(erp, ErpLayout.build(options.layout), options.size, options.rounds)
    print(table(("{3}x{2}".format(*erp.shape), "PSNR", "", "median", "faster"), _rows(found)))
    if options.json is not None:
        write_json(
            options.json, [{"name": way.name, "psnr_db": way.psnr_db, **way.time._asdict()} for way in found]
        )
        print(f"numbers in {options.json}")
    return 0


def _parser() -> ArgumentParser:
    command = parser(_COMMAND, quality.__doc__, example=f"{_COMMAND} PANO.jpg --size 112 --rounds 3")
    command.add_argument("panorama", type=Path, help="a 2:1 equirectangular picture")
    command.add_argument("--height", type=int | None, default=None, help="resize it to this many rows first")
    command.add_argument("--size", type=int, default=224, help="side of the tiles in pixels")
    command.add_argument("--layout", type=LayoutSpec, default=LayoutSpec(), help="the tile layout")
    command.add_argument("--rounds", type=int, default=9, help="repetitions; all ways take turns")
    command.add_argument(
        "--threads", type=int | None, default=None, help="threads of torch and of the kernels"
    )
    command.add_argument(
        "--json", type=Path | None, default=None, metavar="FILE", help="write the numbers to this file"
    )
    return command


def _rows(found: Sequence[Quality]) -> list[tuple[str, ...]]:
    """Every way beside the first, which is that of earlier implementations."""
    earlier = found[0]
    return [
        (
            way.name,
            f"{way.psnr_db:.2f} dB",
            f"{way.psnr_db - earlier.psnr_db:+.2f} dB",
            f"{1e3 * way.time.median_s:.2f} ms",
            f"{earlier.time.median_s / way.time.median_s:.2f}x",
        )
        for way in found
    ]
