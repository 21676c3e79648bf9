"""The table of a verification on the terminal."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence

from refkp.commands import table
from refkp.verify.runner import NO_BACKEND, Row

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
    return "\n".join([*lines, _counts(rows)])


def _counts(rows: Sequence[Row]) -> str:
    """How many cases of each backend ended how."""
    counts = {
        backend: Counter(row.status for row in rows if row.backend == backend)
        for backend in dict.fromkeys(row.backend for row in rows)
    }
    lines = [
        ["none" if backend == NO_BACKEND else backend, *(str(of_backend[status]) for status in _STATUSES)]
        for backend, of_backend in counts.items()
    ]
    return table(("backend", *_STATUSES), lines)
