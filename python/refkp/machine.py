"""What is installed and what runs on it: versions, build, processor, devices, backends of every op, extras."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path
from typing import Any

import torch

from refkp import __version__, _native
from refkp._checks import floating
from refkp._extras import EXTRAS, missing_packages
from refkp.ops import OPS
from refkp.ops._backends import BACKENDS, unsupported_reason
from refkp.systems import SYSTEMS, built_systems

DEVICES = ("cpu", "cuda")


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
        "systems": {system: system in built_systems() for system in SYSTEMS},
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
