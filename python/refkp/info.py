"""`refkp info`: versions, build, processor, devices, and which backend of which op runs here, or why not."""

from __future__ import annotations

import argparse
import json
from typing import Any

from refkp.commands import plain_parser, table


def main(argv: list[str]) -> int:
    """Print the report as text, or as JSON with --json."""
    options = _parser().parse_args(argv)

    from refkp.machine import collect

    facts = collect()
    print(json.dumps(facts, indent=2) if options.json else text(facts))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = plain_parser("refkp info", (__doc__ or "").partition("\n")[0], example="refkp info --json")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    return parser


def text(facts: dict[str, Any]) -> str:
    """The report for a person to read."""
    build = facts["build"]
    lines = [f"{name:10} {version or 'not installed'}" for name, version in facts["versions"].items()]
    lines += [f"{name:10} {device}" for name, device in facts["devices"].items()]
    lines += [f"{'threads':10} {facts['threads']}"]
    if build is None:
        lines += [f"{'build':10} none: {facts['build_missing']}"]
    else:
        cuda = (
            f"CUDA {build['cuda']} for {build['cuda_architectures']}"
            if build["cuda"]
            else "without CUDA kernels"
        )
        lines += [f"{'build':10} {build['build_type']}, {build['compiler']}, {cuda}"]
        lines += [f"{'isa':10} {build['isa']}"]
    return "\n".join([*lines, "", *_backend_table(facts["backends"]), "", *_part_lines(facts)])


def _backend_table(entries: list[dict[str, Any]]) -> list[str]:
    """Ops down, backend and device across; each "no" has a numbered reason below."""
    columns = list(dict.fromkeys(f"{entry['backend']}/{entry['device']}" for entry in entries))
    reasons = list(dict.fromkeys(entry["reason"] for entry in entries if entry["reason"]))
    rows: dict[str, list[str]] = {}
    for entry in entries:
        cell = "yes" if entry["available"] else f"no [{reasons.index(entry['reason']) + 1}]"
        rows.setdefault(entry["op"], []).append(cell)
    notes = [f"[{i}] {reason}" for i, reason in enumerate(reasons, 1)]
    return [
        table(("op", *columns), [(op, *cells) for op, cells in rows.items()]),
        *notes,
        *_dtype_lines(entries),
    ]


def _dtype_lines(entries: list[dict[str, Any]]) -> list[str]:
    dtypes = {f"{entry['backend']}/{entry['device']}": ", ".join(entry["dtypes"]) for entry in entries}
    return [f"{column}: {names}" for column, names in dtypes.items() if names]


def _part_lines(facts: dict[str, Any]) -> list[str]:
    """Systems and extras: what is there, what is missing."""
    systems = [("system", name, "built" if built else "not yet") for name, built in facts["systems"].items()]
    extras = [
        ("extra", extra, f"missing {', '.join(state['missing'])}" if state["missing"] else "installed")
        for extra, state in facts["extras"].items()
    ]
    return [table(("part", "name", "state"), [*systems, *extras])]
