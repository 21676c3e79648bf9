"""A body fitted to a real recording, and a network trained on the fit, judged on a block of time that it has not seen.

    python scripts/learn_recording.py SESSION --body mouse --out learned

refines the cameras of the session by its labels, fits the body, writes samples with the fitted joints as points in
space, trains the preset `tiny` with the cameras given, and judges it on the block of frames that training held out,
beside the fit and plain triangulation, which see the labels of that block. What is there is not made again. What
follows the options is passed to the training.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

#: Samples are squares of this many pixels: the preset's.
SIZE = "96"


def main(arguments: Sequence[str] | None = None) -> int:
    """Calibrate, fit, triangulate, preprocess, train and judge; returns 0."""
    options, training = _parser().parse_known_args(arguments)
    out = options.out
    session, refined = str(options.session), str(out / "cameras" / "calibration_refined.toml")
    given = ["--calibration", str(options.calibration)] if options.calibration else []
    cameras = ["--calibration", refined]
    _once(out / "cameras", "multiview", "calibrate", session, *given)
    _once(out / "fitted", "multiview", "fit", session, "--body", options.body, *cameras)
    _once(out / "triangulated", "multiview", "triangulate", session, *cameras)
    samples, fitted = out / "samples.h5", str(out / "fitted" / "points3d.h5")
    if not samples.exists():
        _refkp(
            *("multiview", "preprocess", session, str(samples), "--size", SIZE, *cameras, "--points", fitted)
        )
    _refkp(
        *("train", "multiview", "--config", "tiny", "--data", str(samples), "--out", str(out / "run")),
        *("--data.body", options.body, "--data.split", "time", "--model.calibrated_share", "1", *training),
    )
    points = [f"{name}={out / name / 'points3d.h5'}" for name in ("fitted", "triangulated")]
    _once(
        *(out / "judged", "multiview", "eval", "--run", str(out / "run"), "--data", str(samples)),
        *("--part", "held_out", "--points", *points),
    )
    return 0


def _once(folder: Path, *command: str) -> None:
    if not folder.exists():
        _refkp(*command, "--out", str(folder))


def _refkp(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "refkp", *arguments], check=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("session", type=Path, help="folder of a session")
    parser.add_argument("--body", required=True, help="as of `refkp multiview fit`")
    parser.add_argument("--calibration", type=Path, help="other cameras than those in the session")
    parser.add_argument("--out", type=Path, required=True, help="folder of everything")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
