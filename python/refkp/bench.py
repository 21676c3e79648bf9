"""`refkp bench`: run the benchmark suites of a checkout, print one table, compare with an earlier run."""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from refkp import commands
from refkp._extras import missing_message
from refkp._files import write_text

#: By how much a ratio may fall against an earlier run before --compare calls it a regression.
MARGIN = 0.2

COLUMNS = (
    *("op", "mode", "shape", "dtype", "refkp", "best peer"),
    *("ratio", "target", "reference", "memory", "roofline"),
)


def main(argv: list[str]) -> int:
    """Run the suites; exit 1 if a correctness gate fails or a ratio regressed."""
    options = _parser().parse_args(argv)
    commands.require_output("refkp bench", options)
    _require_suite(options.suite)
    earlier = load_rows(options.compare) if options.compare else None
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "bench.json"
        code = subprocess.run(
            _pytest(options, report), cwd=options.suite.resolve().parent, check=False
        ).returncode
        if options.json and report.exists():
            write_text(options.json, report.read_text())
        if code:
            return 1
        found = regressions(load_rows(report), earlier, options.margin) if earlier is not None else []
    if earlier is not None:
        print(
            "\n".join(found) or f"no ratio fell by more than {options.margin:.0%} against {options.compare}"
        )
    return 1 if found else 0


def _parser() -> argparse.ArgumentParser:
    parser = commands.plain_parser(
        "refkp bench", (__doc__ or "").partition("\n")[0], example="refkp bench --filter vicreg --smoke"
    )
    add = parser.add_argument
    add("--suite", type=Path, default=Path("bench"), help="folder of the suites (default: ./bench)")
    add("--filter", metavar="NAME", help="only suites and rows whose name contains NAME (pytest -k)")
    add(
        "--smoke",
        action="store_true",
        help="correctness gates, each run timed once, without large rows: no figures",
    )
    add("--device", choices=("cpu", "cuda"), help="default: cuda where there is one")
    add("--threads", type=int, help="threads of torch and of the kernels (default: all cores)")
    add("--budget", type=float, metavar="SECONDS", help="time to spend on each row")
    add("--json", type=Path, metavar="FILE", help="keep the results, e.g. under bench/results")
    add("--compare", type=Path, metavar="FILE", help="fail where a ratio fell against these earlier results")
    add("--margin", type=float, default=MARGIN, help=f"share by which it may fall (default: {MARGIN})")
    return parser


def _require_suite(suite: Path) -> None:
    if not (suite / "conftest.py").is_file():
        raise FileNotFoundError(
            f"refkp bench: no suites in {suite}/. Run it from the root of a checkout or name it with --suite."
        )
    if importlib.util.find_spec("pytest_benchmark") is None:
        raise ImportError(f"refkp bench: {missing_message('pytest_benchmark')}")


def _pytest(options: argparse.Namespace, report: Path) -> list[str]:
    suites = str(options.suite.resolve())
    command = [sys.executable, "-m", "pytest", suites, "-q", "--tb=short", "--benchmark-quiet"]
    command += ["-p", "no:cacheprovider", f"--benchmark-json={report}"]
    command += [f"-k{options.filter}"] if options.filter else []
    command += ["--bench-smoke"] if options.smoke else []
    for name in ("device", "threads", "budget"):
        value = getattr(options, name)
        command += [f"--bench-{name}={value}"] if value is not None else []
    return command


def load_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a results file, as `bench/support.py` recorded them."""
    report = json.loads(path.read_text())
    return [entry["extra_info"] for entry in report["benchmarks"] if "ratio" in entry["extra_info"]]


def row_name(row: dict[str, Any]) -> str:
    """What identifies a row in every run: op, mode, shape, dtype, device."""
    return f"{row['op']} {row['mode']} {row['shape']} {row['dtype']} {row['device']}"


def regressions(
    rows: Sequence[dict[str, Any]], earlier: Sequence[dict[str, Any]], margin: float
) -> list[str]:
    """A line for each row whose ratio fell by more than `margin`. Rows in only one of the runs pass."""
    before = {row_name(row): row["ratio"] for row in earlier}
    return [
        f"REGRESSION {row_name(row)}: ratio {row['ratio']:.2f}, was {before[row_name(row)]:.2f}"
        for row in rows
        if row_name(row) in before and row["ratio"] < before[row_name(row)] * (1 - margin)
    ]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as text: times, ratio against its target, and how far the reference and the roofline are."""
    return commands.table(COLUMNS, map(_cells, rows))


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    contenders, peer = row["contenders"], row["best_peer"]
    ours = contenders["refkp"]["median_s"]
    target, ratio = row["target"], row["ratio"]
    reference = f"{contenders['reference']['median_s'] / ours:.1f}x" if "reference" in contenders else "-"
    roofline = row.get("roofline")
    return (
        row["op"],
        row["mode"],
        "x".join(map(str, row["shape"])),
        row["dtype"],
        _time(contenders["refkp"]),
        f"{peer} {_time(contenders[peer])}",
        f"{ratio:.2f}x",
        "-" if target is None else f"{target:g}x" + (" missed" if ratio < target else ""),
        reference,
        _memory(row.get("peak_bytes"), peer),
        f"{roofline['share']:.0%} of {roofline['bound']}" if roofline else "-",
    )


def _time(timing: dict[str, Any]) -> str:
    return f"{timing['median_s'] * 1e3:.3g} +- {timing['iqr_s'] * 1e3:.2g} ms"


def _memory(peak: dict[str, int | None] | None, peer: str) -> str:
    ours, theirs = (peak["refkp"], peak[peer]) if peak else (None, None)
    return "-" if ours is None or theirs is None else f"{ours / 1e6:.3g} of {theirs / 1e6:.3g} MB"
