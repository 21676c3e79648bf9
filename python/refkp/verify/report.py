"""The table of a verification on the terminal, and its rows as JSON."""

from __future__ import annotations

import json
import os
import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from refkp.verify.runner import Row

_STATUSES = ("pass", "fail", "error", "skip")


def format_row(row: Row) -> str:
    """One line of the table."""
    line = f"{row.status:5} {row.backend:11} {row.system + '/' + row.id:48}"
    if row.worst is not None:
        line += f" {row.worst.error:8.1e} of {row.worst.allowed:7.1e} allowed in {row.worst.array}"
    return line.rstrip() + (f"  ({row.reason})" if row.reason else "")


def print_row(row: Row) -> None:
    """Print a row as it comes; skipped ones wait for the summary."""
    if row.status != "skip":
        print(format_row(row), flush=True)


def summary(rows: Sequence[Row]) -> str:
    """What was skipped and why, and the counts per backend."""
    lines = []
    skipped: dict[str, list[str]] = {}
    for row in rows:
        if row.status == "skip":
            names = skipped.setdefault(row.reason, [])
            if row.function not in names:
                names.append(row.function)
    for reason, functions in skipped.items():
        lines.append(textwrap.fill(f"skipped, {reason}: {', '.join(functions)}", 110, subsequent_indent="  "))
    for backend in dict.fromkeys(row.backend for row in rows):
        counts = Counter(row.status for row in rows if row.backend == backend)
        name = "without backend" if backend == "-" else backend
        lines.append(
            f"{name}: " + ", ".join(f"{counts[status]} {status}" for status in _STATUSES if counts[status])
        )
    return "\n".join(lines)


def write_json(rows: Sequence[Row], path: Path) -> None:
    """Write the rows so that `path` holds either all of them or what it held before."""
    text = json.dumps([row.to_json() for row in rows], indent=1, allow_nan=False)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(text + "\n", encoding="utf-8")
    os.replace(unfinished, path)
