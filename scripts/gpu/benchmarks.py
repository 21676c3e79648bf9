"""The benchmark suites one after the other into one file, so that running out of time loses the rest alone.

    python -m scripts.gpu.benchmarks --json bench.json --suites affine_warp vicreg -- --device cuda --budget 0.5

What stands after `--` goes to `refkp bench`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any


def main(argv: list[str]) -> int:
    """Run the suites; exit 1 if one failed. The file is written after each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--suites", nargs="+", required=True)
    parser.add_argument("bench", nargs="*", metavar="-- OPTIONS", help="of refkp bench")
    options = parser.parse_args(argv)
    report: dict[str, Any] = {"suites": {}, "benchmarks": []}
    for suite in options.suites:
        code, part = run(suite, options.bench)
        report["suites"][suite] = "passed" if code == 0 else "failed"
        report["benchmarks"] += part.pop("benchmarks", [])
        options.json.write_text(json.dumps({**part, **report}, indent=1))
    return 1 if "failed" in report["suites"].values() else 0


def run(suite: str, options: list[str]) -> tuple[int, dict[str, Any]]:
    """The exit code and the report of `refkp bench` over one suite."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.json"
        chosen = ["--filter", f"test_bench_{suite}", "--json", str(path)]
        command = [sys.executable, "-m", "refkp", "bench", *chosen, *options]
        code = subprocess.run(command, check=False).returncode
        return code, json.loads(path.read_text()) if path.exists() and path.stat().st_size else {}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
