"""`refkp info`: versions, build, processor, devices, and which backend of which op runs here, or why not."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any

import torch

from refkp import __version__, _native
from refkp._checks import floating
from refkp._extras import EXTRAS, missing_packages
from refkp.ops import OPS
from refkp.ops._backends import BACKENDS, unsupported_reason

DEVICES = ("cpu", "cuda")


def main(argv: list[str]) -> int:
    """Print the report as text, or as JSON with --json."""
    parser = argparse.ArgumentParser(prog="refkp info", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    options = parser.parse_args(argv)
    facts = collect()
    print(json.dumps(facts, indent=2) if options.json else text(facts))
    return 0


def collect() -> dict[str, Any]:
    """Everything the report tells, as plain JSON values."""
    return {
        "versions": versions(),
        "build": _native.build_info() if _native.missing_reason() is None else None,
        "build_missing": _native.missing_reason(),
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "devices": devices(),
        "backends": backends(),
        "extras": {extra: {"missing": missing_packages(extra)} for extra in EXTRAS},
    }


def versions() -> dict[str, str | None]:
    """Versions by name; None for a package that is not installed."""
    return {
        "refkp": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": _version("numpy"),
        "triton": _version("triton"),
        "cuda": torch.version.cuda,
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def processor() -> str:
    """The processor's name as Linux tells it, else what Python knows."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def devices() -> dict[str, str]:
    """Device -> its name."""
    gpus = {f"cuda:{i}": torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())}
    return {"cpu": processor(), **gpus}


def backends() -> list[dict[str, Any]]:
    """One entry per op, backend and device: the dtypes it runs in, or the reason why it cannot."""
    answers = {(backend, device): _answer(backend, device) for backend in BACKENDS for device in DEVICES}
    return [
        {"op": op, "backend": backend, "device": device, **answer}
        for op in OPS
        for (backend, device), answer in answers.items()
    ]


def _answer(backend: str, device: str) -> dict[str, Any]:
    if device == "cuda" and not torch.cuda.is_available():
        return {"available": False, "dtypes": [], "reason": "no CUDA device is visible"}
    reasons = {dtype: unsupported_reason(backend, torch.device(device), dtype) for dtype in floating()}
    dtypes = [str(dtype).removeprefix("torch.") for dtype, reason in reasons.items() if reason is None]
    return {"available": bool(dtypes), "dtypes": dtypes, "reason": None if dtypes else reasons[torch.float32]}


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
    return "\n".join([*lines, "", *_backend_table(facts["backends"]), "", *_extra_lines(facts["extras"])])


def _backend_table(entries: list[dict[str, Any]]) -> list[str]:
    """Ops down, backend and device across; each "no" has a numbered reason below."""
    columns = list(dict.fromkeys(f"{entry['backend']}/{entry['device']}" for entry in entries))
    reasons = list(dict.fromkeys(entry["reason"] for entry in entries if entry["reason"]))
    rows: dict[str, list[str]] = {}
    for entry in entries:
        cell = "yes" if entry["available"] else f"no [{reasons.index(entry['reason']) + 1}]"
        rows.setdefault(entry["op"], []).append(cell)
    width = max(map(len, rows)) + 2
    lines = ["op".ljust(width) + "".join(column.ljust(len(column) + 2) for column in columns)]
    for op, cells in rows.items():
        spaced = (cell.ljust(len(column) + 2) for cell, column in zip(cells, columns, strict=True))
        lines.append(op.ljust(width) + "".join(spaced))
    notes = [f"[{i}] {reason}" for i, reason in enumerate(reasons, 1)]
    return [line.rstrip() for line in (*lines, *notes, *_dtype_lines(entries))]


def _dtype_lines(entries: list[dict[str, Any]]) -> list[str]:
    dtypes = {f"{entry['backend']}/{entry['device']}": ", ".join(entry["dtypes"]) for entry in entries}
    return [f"{column}: {names}" for column, names in dtypes.items() if names]


def _extra_lines(extras: dict[str, Any]) -> list[str]:
    lines = []
    for extra, state in extras.items():
        missing = state["missing"]
        lines.append(f"extra {extra:10} " + (f"missing {', '.join(missing)}" if missing else "installed"))
    return lines
