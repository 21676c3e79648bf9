"""`refkp demo`: the main job end to end on a small input, told in one HTML report."""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Sequence
from pathlib import Path

from refkp import __version__
from refkp.commands import plain_parser

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    """Run the demo and print where the report lies."""
    options = _parser().parse_args(argv)

    from refkp.demo import kernels, panorama, pose
    from refkp.viz.report import Report

    start = time.perf_counter()
    report = Report("refkp demo", f"refkp {__version__} · {_machine()}")
    print("1/6  panorama: tiles and their overlaps")
    paths = panorama.find_or_render(options.input, options.out / "panoramas")
    panorama.picture_pages(report, paths[0])
    run = options.out / "run"
    print("2/6  panorama: training on true overlaps")
    panorama.training_page(report, options.input or paths[0].parent, run, options.epochs)
    if options.input is None:
        print("3/6  panorama: captions from tiles")
        panorama.caption_page(report, paths, run, options.epochs)
    else:
        print("3/6  panorama: no captions beside your panoramas, so no language model (see docs/panorama.md)")
    print("4/6  pose: an object, its templates and their matches")
    pictures, held_out = pose.make_data(options.out / "pose")
    pose.match_page(report, pictures, held_out)
    print("5/6  pose: a short training, poses of held-out pictures")
    pose.training_page(report, pictures, held_out, options.out / "pose" / "run", options.epochs)
    print("6/6  kernels against their torch compositions")
    kernels.timing_page(report, options.seconds)
    path = report.write(options.out / "report.html")
    print(f"report: {path} ({time.perf_counter() - start:.0f} s)")
    return 0


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
        help="your own panoramas, two at least (default: rendered scenes)",
    )
    parser.add_argument(
        "--epochs", type=int, help="epochs of the training runs (default: as many as a small report needs)"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=2.0,
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
