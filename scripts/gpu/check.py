"""Everything that needs a CUDA device, offline and within minutes: what matters most first.

    bash scripts/gpu_check.sh --minutes 8 --out gpu_check
    bash scripts/gpu_check.sh --rehearse       the same phases without a device, without optional packages

Each phase has its share of the time that is left; what it knows is in summary.json before the next begins.
Exit code: 0 if no phase failed and the first five were not cut short, 1 otherwise, 2 without a device.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.gpu.phases import PHASES, ROOT, SUITES, Phase, Settings, Skip, environment
from scripts.gpu.process import CUT_SHORT, GRACE_S, run
from scripts.gpu.toolkit import machine

#: Packages that a CUDA machine may lack, by import name; a rehearsal does without them.
MAY_BE_MISSING = (
    *(
        "lightning",
        "jsonargparse",
        "torchmetrics",
        "tensorboard",
        "rich",
        "yaml",
        "matplotlib",
        "PIL",
        "trimesh",
    ),
    *("embreex", "cv2", "transformers", "peft", "diffusers", "sleap_io", "py360convert", "hypothesis"),
)
#: A phase is not worth its start in less.
LEAST_S = 2 * GRACE_S

Record = dict[str, Any]


def main(argv: list[str]) -> int:
    """Run the phases and keep the summary."""
    options = _parser().parse_args(argv)
    start, card = time.monotonic(), machine()
    if card["card"] is None and not options.rehearse:
        print(
            f"gpu_check: {sys.executable} sees no CUDA device; --rehearse does without one.", file=sys.stderr
        )
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    for name in ("summary.json", "agreement.json", "bench.json", "log.txt"):
        (options.out / name).unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        settings = settings_of(options, card, Path(scratch))
        summary: Record = {
            "machine": card,
            "minutes": options.minutes,
            "rehearsal": options.rehearse,
            "phases": [],
        }
        blocked = MAY_BE_MISSING if options.rehearse else ()
        for phase in [phase for phase in PHASES if phase.name in options.phases]:
            left = 60 * options.minutes - (time.monotonic() - start)
            record = run_phase(
                phase, settings, limit(phase, left, options.phases), summary["phases"], blocked
            )
            summary["phases"].append(record)
            (options.out / "summary.json").write_text(json.dumps(summary, indent=1))
            print(told(record), flush=True)
    passed = all(map(is_good, summary["phases"]))
    print(f"gpu_check: {'passed' if passed else 'FAILED'}; results in {options.out}")
    return 0 if passed else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gpu_check.sh", description=(__doc__ or "").partition("\n")[0])
    add, names = parser.add_argument, [phase.name for phase in PHASES]
    add("--minutes", type=float, default=8.0, help="time for everything (default: 8)")
    add(
        "--out",
        type=Path,
        default=Path(os.environ.get("OUT", "gpu_check")),
        help="folder (default: $OUT or gpu_check)",
    )
    add("--rehearse", action="store_true", help="on the CPU, as if optional packages were missing")
    add("--nvcc", action="store_true", help="a rehearsal that compiles the CUDA kernels too, for sm_90")
    add("--phases", nargs="+", default=names, choices=names, help="only these")
    return parser


def settings_of(options: argparse.Namespace, card: dict[str, Any], scratch: Path) -> Settings:
    """A rehearsal takes a part of the tests and benchmarks: Triton's interpreter is slow."""
    out = options.out.resolve()
    if options.rehearse:
        return Settings(
            out=out, scratch=scratch, device="cpu", architecture="90" if options.nvcc else None, workers=2,
            dtypes=("float32",), select="native-cpu-float32 and not compile",
            rest=("-k", "rotation and geometry"), suites=("equivariance_loss",), bench=("--smoke",),
        )  # fmt: skip
    major, minor = card["capability"]
    return Settings(
        out=out, scratch=scratch, device="cuda", architecture=f"{major}{minor}", workers=8,
        dtypes=("float32", "bfloat16", "float16"), select="cuda", rest=(), suites=SUITES, bench=("--budget", "0.5"),
    )  # fmt: skip


def limit(phase: Phase, left: float, names: Sequence[str]) -> float:
    """The seconds of a phase: its share among those still to come, or half of what these left."""
    chosen = [other for other in PHASES if other.name in names]
    after = chosen[chosen.index(phase) :]
    whole = sum(other.share for other in after)
    return left * phase.share / whole if whole else left / len(after)


def run_phase(
    phase: Phase, settings: Settings, limit_s: float, before: list[Record], blocked: tuple[str, ...]
) -> Record:
    """What a phase did: its name, status, seconds and numbers; the reason where it did not run."""
    record: Record = {"phase": phase.name, "status": "skipped", "limit_s": round(limit_s, 1), "seconds": 0.0}
    if any(other["phase"] == "build" and other["status"] != "passed" for other in before):
        return record | {"reason": "there is no build"}
    if limit_s < LEAST_S:
        return record | {"reason": f"{max(limit_s, 0):.0f} s are left"}
    try:
        command, variables = phase.command(settings, limit_s - GRACE_S)
    except Skip as reason:
        return record | {"reason": str(reason)}
    os.chdir(ROOT)
    outcome = run(
        command, limit_s - GRACE_S, environment(settings, blocked) | variables, settings.out / "log.txt"
    )
    status = {0: "passed", CUT_SHORT: "cut short", None: "cut short"}.get(outcome.code, "failed")
    record |= {"status": status, "seconds": outcome.seconds, "command": " ".join(command)}
    record["numbers"] = phase.numbers(settings, outcome)
    return record if status == "passed" else record | {"tail": outcome.output[-1500:]}


def is_good(record: Record) -> bool:
    """The first five must end; what comes after them takes the time that they leave."""
    late = record["phase"] in [phase.name for phase in PHASES if phase.share == 0]
    return record["status"] in ("passed", "skipped") or (late and record["status"] == "cut short")


def told(record: Record) -> str:
    """A phase in one line."""
    line = (
        f"{record['phase']:<10} {record['status']:<9} {record['seconds']:6.1f} of {record['limit_s']:.0f} s"
    )
    return line + (f": {record['reason']}" if "reason" in record else "")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
