"""Fuzz the ops under AddressSanitizer and UBSan, and the readers of files: tests/fuzz with many more calls.

    python scripts/fuzz.py [--calls N] [--only ops|readers] [PYTEST OPTION ...]

The extension is compiled with sanitizers in a copy of the checkout. The calls of an op are shared out over the
instruction sets of this processor; the mutations of a reader's files run once. A failure names the seed of its call;
`REFKP_FUZZ_FIRST=SEED REFKP_FUZZ_CALLS=1` with the same REFKP_ISA repeats it. Needs git, GCC, cmake, ninja and pybind11
beside what the tests need. Exit 1 at the first run that fails.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from refkp import _native
from scripts.working_copy import WorkingCopy

ISAS = ("baseline", "avx2", "avx512")
#: libasan must be the first library of the process; libstdc++ behind it, so that it sees exceptions being thrown.
PRELOADED = ("libasan.so", "libstdc++.so")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--calls", type=int, default=10_000, help="of each op, and mutations of each reader's files"
    )
    parser.add_argument("--only", choices=("ops", "readers"), help="half of it")
    options, pytest_options = parser.parse_known_args(arguments)
    with tempfile.TemporaryDirectory(prefix="refkp-fuzz-") as folder:
        copy, last = WorkingCopy(Path(folder), ["-DREFKP_SANITIZE=ON"]), Path(folder, "last_call.txt")
        copy.build()
        runs = [] if options.only == "readers" else list(op_runs(options.calls))
        if options.only != "ops":
            runs.append(("tests/fuzz/readers", {"REFKP_FUZZ_CALLS": str(options.calls)}))
        for tests, settings in runs:
            print(tests, *(f"{name}={value}" for name, value in settings.items()), flush=True)
            settings |= {"REFKP_FUZZ_LAST": str(last), **sanitizers()}
            # Without -s the words of a sanitizer would be lost with the process that it ends.
            done = copy.run("-m", "pytest", "-q", "-s", tests, *pytest_options, captured=False, **settings)
            if done.returncode != 0:
                print(
                    f"exit {done.returncode}; the last call: {last.read_text() if last.exists() else 'none'}"
                )
                return 1
    return 0


def op_runs(calls: int) -> list[tuple[str, dict[str, str]]]:
    """The tests of the ops and the environment of each run: every instruction set has its share of the seeds."""
    isas = ISAS[: ISAS.index(str(_native.build_info()["isa"])) + 1]
    bounds = [calls * index // len(isas) for index in range(len(isas) + 1)]
    return [
        (
            "tests/fuzz/ops",
            {"REFKP_ISA": isa, "REFKP_FUZZ_FIRST": str(first), "REFKP_FUZZ_CALLS": str(end - first)},
        )
        for isa, first, end in zip(isas, bounds[:-1], bounds[1:], strict=True)
    ]


def sanitizers() -> dict[str, str]:
    """The environment in which an interpreter loads a library with sanitizers.

    What Python and torch never free is no leak to look for, and torch's own allocations may be large.
    """
    paths = [
        subprocess.run(
            ["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in PRELOADED
    ]
    return {
        "LD_PRELOAD": ":".join(paths),
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
    }


if __name__ == "__main__":
    sys.exit(main())
