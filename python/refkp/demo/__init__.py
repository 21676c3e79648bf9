"""`refkp demo`: the main job end to end on a small input, told in one HTML report."""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from refkp import __version__
from refkp.commands import plain_parser, require_output

if TYPE_CHECKING:
    from refkp.viz.report import Report

__all__ = ["main"]


class Page(NamedTuple):
    """A part of the report."""

    title: str  # for the console
    write: Callable[[Report], None]


def main(argv: Sequence[str]) -> int:
    """Run the demo; the report is on disk from its first page on, and grows with each."""
    options = _parser().parse_args(argv)
    require_output("refkp demo", options)

    from refkp.viz.report import Report

    start = time.perf_counter()
    report, path = Report("refkp demo", f"refkp {__version__} · {_machine()}"), options.out / "report.html"
    pages = _pages(options)
    for number, page in enumerate(pages, 1):
        print(f"[{number}/{len(pages)}, {time.perf_counter() - start:.0f} s] {page.title}", flush=True)
        page.write(report)
        report.write(path)
        if number == 1:
            print(f"first page of {path} after {time.perf_counter() - start:.0f} s", flush=True)
    print(f"report           {path}, {time.perf_counter() - start:.0f} s")
    return 0


def _pages(options: argparse.Namespace) -> list[Page]:
    """In order; a page makes its own data, anew."""
    from refkp.demo import captions, kernels, multiview, panorama, pose

    out, epochs = options.out, options.epochs

    def tiles(report: Report) -> None:
        panorama.picture_pages(report, panorama.find_or_render(options.input, out / "panorama.png"))

    def overlaps(report: Report) -> None:
        source = options.input or panorama.make_scenes(out / "panoramas")
        panorama.training_page(report, source, out / "run", epochs)

    pages = [
        Page("panorama: tiles and their overlaps", tiles),
        Page("panorama: training on true overlaps", overlaps),
        Page(
            "panorama: where the sun stands, in words",
            lambda report: captions.caption_page(report, out / "captions", epochs),
        ),
        Page(
            "multiview: a recording, its faults, the animal in space",
            lambda report: multiview.session_page(report, out / "multiview"),
        ),
        Page(
            "pose: an object, its templates and their matches",
            lambda report: pose.match_page(report, out / "pose" / "data"),
        ),
        Page(
            "pose: a short training, poses of held-out pictures",
            lambda report: pose.training_page(report, out / "pose" / "data", out / "pose" / "run", epochs),
        ),
        Page(
            "kernels against their torch compositions",
            lambda report: kernels.timing_page(report, options.seconds),
        ),
    ]
    return pages if options.input is None else [page for page in pages if "sun" not in page.title]


def _parser() -> argparse.ArgumentParser:
    parser = plain_parser(
        "refkp demo", (__doc__ or "").partition("\n")[0], example="refkp demo --out refkp_demo"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("refkp_demo"), help="folder of the report (default: %(default)s)"
    )
    parser.add_argument(
        "--input",
        type=Path,
        metavar="DIR",
        help="your own panoramas, two at least, without captions (default: rendered scenes)",
    )
    parser.add_argument(
        "--epochs", type=int, help="epochs of each training run (default: as many as a small report needs)"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=1.0,
        help="time for each row of the kernel table (default: %(default)s)",
    )
    return parser


def _machine() -> str:
    import torch

    from refkp import _native

    cpu = f"{platform.machine()}, {torch.get_num_threads()} threads"
    isa = f", {_native.build_info()['isa']}" if _native.missing_reason() is None else ""
    gpu = f" · {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"torch {torch.__version__} · Python {platform.python_version()} · {cpu}{isa}{gpu}"
