"""Every op by every backend in every dtype against the float64 reference on the device, forward and backward.

    python -m scripts.gpu.agreement --json agreement.json

In one process, native kernels first: they are compiled already. The file is written after every row. What breaks the
device (an illegal address) breaks it for the whole process, so a fresh one goes on with the rows after it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

import refkp
from refkp import _native
from refkp.ops._backends import unsupported_reason
from scripts.gpu.calls import small_calls
from scripts.gpu.process import CUT_SHORT
from tests.support.flow_scenes import borderline
from tests.support.op_call import OpCall
from tests.support.tolerances import TOLERANCES, Tolerance, error_ratio, tolerance

LATE = "no time left"
DTYPES = ("float32", "float64", "bfloat16", "float16")  # first what most users run

Row = dict[str, Any]


class Task(NamedTuple):
    """One row of the table: a call, by a backend, in a dtype."""

    name: str
    call: OpCall
    backend: str
    dtype: str

    def key(self) -> list[str]:
        return [self.name, self.backend, self.dtype]


def main(argv: list[str]) -> int:
    """Run what is not in the file yet; exit 1 if a row failed, 3 if there was no time for one."""
    options = _parser().parse_args(argv)
    print(f"refkp of {refkp.__file__}", flush=True)
    if options.device == "cuda" and "native" in options.backends and not _native.has_cuda_kernels():
        print("it has no CUDA kernels: another installation comes before the one that was built")
        return 1
    known = json.loads(options.json.read_text()) if options.json.exists() else []
    done = [[row["call"], row["backend"], row["dtype"]] for row in known]
    for task in tasks(options.backends, options.dtypes):
        if task.key() in done:
            continue
        late = time.time() > options.until
        known += [_row(task, "skipped", reason=LATE)] if late else run(task, options.device)
        options.json.write_text(json.dumps(known, indent=1))
        if options.device == "cuda" and _is_lost():
            print(f"the device is lost after {task.key()}; a fresh process goes on", flush=True)
            os.execv(sys.executable, [sys.executable, "-m", "scripts.gpu.agreement", *argv])
    failed = [row for row in known if row["status"] == "failed"]
    late = [row for row in known if row.get("reason") == LATE]
    print(f"{len(known)} rows, {len(failed)} failed, {len(late)} without time", *map(told, failed), sep="\n")
    return 1 if failed else CUT_SHORT if late else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--json", type=Path, required=True, help="the table; rows that are in it are not run again")
    add("--device", default="cuda", choices=("cpu", "cuda"))
    add("--backends", nargs="+", default=["native", "triton"])
    add("--dtypes", nargs="+", default=list(DTYPES), choices=DTYPES)
    add("--until", type=float, default=float("inf"), help="start no row after this time (seconds since 1970)")
    return parser


def tasks(backends: list[str], dtypes: list[str]) -> Iterator[Task]:
    """Every row that the table of tolerances knows, backend by backend, dtype by dtype."""
    for backend in backends:
        for dtype in dtypes:
            for name, call in small_calls().items():
                if (call.op, backend, getattr(torch, dtype)) in TOLERANCES:
                    yield Task(name, call, backend, dtype)


def run(task: Task, device: str) -> list[Row]:
    """A row for each direction; one that is skipped or failed where nothing can be compared."""
    dtype = getattr(torch, task.dtype)
    reason = unsupported_reason(task.backend, torch.device(device), dtype)
    if reason is not None:
        return [_row(task, "skipped", reason=reason)]
    start = time.perf_counter()
    try:
        there = task.call.to(device, dtype)
        got = there.run(task.backend)
        errors = compare(task, there.to(device, torch.float64), got)
    except (
        Exception
    ):  # whatever it is, it belongs into the table, and the other rows are still worth their time
        return [_row(task, "failed", reason=traceback.format_exc(limit=-3))]
    seconds = round(time.perf_counter() - start, 3)
    return [
        _row(
            task,
            "passed" if ratio <= 1 else "failed",
            direction=direction,
            **_numbers(ratio, error),
            seconds=seconds,
        )
        for direction, (ratio, error) in errors.items()
    ]


def compare(task: Task, exact: OpCall, got: dict[str, Tensor]) -> dict[str, tuple[float, float]]:
    """By direction: the worst error / allowed error, and the worst error / largest wanted value."""
    limit = tolerance(task.call.op, task.backend, getattr(torch, task.dtype))
    worst: dict[str, tuple[float, float]] = {}
    for name, want in exact.run("reference").items():
        if want.is_floating_point():
            allowed, of_largest = (error_ratio(got[name], want, one) for one in (limit, Tolerance(0.0, 1.0)))
            found = float(allowed.max()), float(of_largest.max())
        else:  # flags of flow_gt: equal, but for pixels where rounding decides
            sure = ~borderline(dict(exact.tensors), **exact.options)
            differing = float((got[name] != want)[sure].double().mean())
            found = (math.inf if differing else 0.0), differing
        direction = "backward" if name.startswith("grad_") else "forward"
        before = worst.get(direction, (0.0, 0.0))
        worst[direction] = max(before[0], found[0]), max(before[1], found[1])
    return worst


def _numbers(ratio: float, error: float) -> dict[str, float | None]:
    """Four digits of each; None for an infinite one, which JSON does not know."""
    values = {"error_of_allowed": ratio, "error_of_largest": error}
    return {name: float(f"{value:.4g}") if math.isfinite(value) else None for name, value in values.items()}


def _row(task: Task, status: str, **values: Any) -> Row:
    op, (call, backend, dtype) = task.call.op, task.key()
    return {"op": op, "call": call, "backend": backend, "dtype": dtype, "status": status, **values}


def told(row: Row) -> str:
    """A failed row in one line."""
    name = " ".join([row["call"], row["backend"], row["dtype"], row.get("direction", "")])
    if "reason" in row:
        return f"{name}: {row['reason'].splitlines()[-1]}"
    return f"{name}: {row['error_of_allowed']} times the allowed error"


def _is_lost() -> bool:
    """Whether nothing can run on the device any more."""
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
