"""Run golden cases: every case on each backend of its op, compared array by array."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from refkp.ops._backends import unsupported_reason
from refkp.verify import BACKENDS
from refkp.verify.compare import FLOAT32_ATOL_OF_MAX, FLOAT32_RTOL, Comparison, compare
from refkp.verify.manifest import (
    COMPARED_ROLES,
    FED_ROLES,
    Array,
    Case,
    GoldenError,
    load_arrays,
    load_cases,
)
from refkp.verify.registry import Entry, adapters
from refkp.verify.skipped import skip_reason

#: In place of a backend for functions that do not depend on one.
NO_BACKEND = "-"
FLOAT32_NOTE = f"float32 only: rtol {FLOAT32_RTOL:.0e}, atol {FLOAT32_ATOL_OF_MAX:.0e} max|want|"


@dataclass(frozen=True)
class Row:
    """The outcome of one case on one backend."""

    id: str
    system: str
    function: str
    backend: str
    status: str  # pass, fail, skip or error
    worst: Comparison | None = None  # the array closest to or furthest beyond its allowance
    reason: str = ""  # why it did not pass; for a pass, what the reader must know about it

    def to_json(self) -> dict[str, Any]:
        """The row as `refkp verify --json` writes it; an error that is no finite number becomes null."""
        worst = None
        if self.worst is not None:
            error = self.worst.error if math.isfinite(self.worst.error) else None
            worst = {"array": self.worst.array, "error": error, "allowed": self.worst.allowed}
        return {
            "id": self.id,
            "system": self.system,
            "function": self.function,
            "backend": self.backend,
            "status": self.status,
            "worst": worst,
            "reason": self.reason,
        }


class _Target(NamedTuple):
    """Where a case runs."""

    label: str
    backend: str | None
    device: torch.device
    has_float64: bool
    unavailable: str | None = None


def run(
    golden: Path | str,
    *,
    system: str | None = None,
    function: str | None = None,
    backend: str | None = None,
    on_row: Callable[[Row], None] | None = None,
) -> list[Row]:
    """Compare the cases of a golden folder with refkp.

    Args:
        golden: the folder, with one subfolder per system.
        system, function: run only cases of this system, of this golden function.
        backend: run the cases of ops only on this backend; it is an error if it is unavailable. By default
            each
            available backend runs, and the others are skipped with the reason. Functions without backends
            always run.
        on_row: called with each row as soon as it is there.

    Returns:
        One row per case and backend.

    Raises:
        GoldenError: the folder cannot be used, or no case is left.
    """
    cases = load_cases(Path(golden))
    chosen = [case for case in cases if system in (None, case.system) and function in (None, case.function)]
    if not chosen:
        raise GoldenError(f"{golden} has no case of " + _describe_selection(cases, system, function))
    rows: list[Row] = []
    for case in chosen:
        for row in _run_case(case, backend):
            rows.append(row)
            if on_row is not None:
                on_row(row)
    return rows


def _describe_selection(cases: list[Case], system: str | None, function: str | None) -> str:
    systems = sorted({case.system for case in cases})
    if system is not None and system not in systems:
        return f"system {system!r}; it has {', '.join(systems)}."
    functions = sorted({case.function for case in cases if system in (None, case.system)})
    return f"function {function!r}; it has {', '.join(functions)}."


def _run_case(case: Case, backend: str | None) -> Iterator[Row]:
    try:
        entry = adapters(case.system).get(case.function)
        arrays = load_arrays(case) if entry is not None else {}
    except (ImportError, GoldenError) as error:
        yield Row(case.id, case.system, case.function, NO_BACKEND, "error", reason=str(error))
        return
    if entry is None:
        reason = skip_reason(case.system, case.function)
        yield Row(case.id, case.system, case.function, NO_BACKEND, "skip", reason=reason)
        return
    for target in _targets(entry, backend):
        status, worst, reason = _run_on(target, case, entry, arrays, named=backend is not None)
        yield Row(case.id, case.system, case.function, target.label, status, worst, reason)


def _targets(entry: Entry, backend: str | None) -> Iterator[_Target]:
    cpu = torch.device("cpu")
    if entry.op is None:
        yield _Target(NO_BACKEND, None, cpu, has_float64=True)
        return
    on_cuda = [torch.device("cuda")] if torch.cuda.is_available() else []
    devices = {"reference": [cpu], "native": [cpu, *on_cuda], "triton": on_cuda or [cpu]}
    for name in BACKENDS if backend is None else (backend,):
        for device in devices[name]:
            label = name if device == devices[name][0] else f"{name} {device.type}"
            has_float64 = unsupported_reason(name, device, torch.float64) is None
            unavailable = None if has_float64 else unsupported_reason(name, device, torch.float32)
            yield _Target(label, name, device, has_float64, unavailable)


def _run_on(
    target: _Target, case: Case, entry: Entry, arrays: Mapping[str, Array], *, named: bool
) -> tuple[str, Comparison | None, str]:
    """Status, worst array and reason of one case on one backend."""
    if target.unavailable is not None:
        reason = f"backend {target.backend} unavailable: {target.unavailable}"
        return ("error" if named else "skip"), None, reason
    names = case.names((*FED_ROLES, *COMPARED_ROLES))
    float32 = not target.has_float64 and any(arrays[name].dtype == np.float64 for name in names)
    inputs = {name: _to_tensor(arrays[name], target.device, float32) for name in case.names(FED_ROLES)}
    try:
        results = entry.adapter(case.params, inputs, target.backend)
        missing = [name for name in case.names(COMPARED_ROLES) if name not in results]
        if missing:
            return "fail", None, f"did not come back: {', '.join(missing)}"
        worst, reason = _compare_all(case, results, arrays, float32)
    except KeyError as error:  # what an adapter reads of a case, it reads by its name
        return "error", None, f"the case has no {error}"
    except Exception as error:  # whatever an adapter or op raises is the outcome of this case, not of the run
        return "error", None, f"{type(error).__name__}: {error}".strip()
    if reason:
        return "fail", worst, reason
    return "pass", worst, FLOAT32_NOTE if float32 else ""


def _compare_all(
    case: Case, results: Mapping[str, Any], arrays: Mapping[str, Array], float32: bool
) -> tuple[Comparison | None, str]:
    comparisons = []
    for name in case.names(COMPARED_ROLES):
        tolerance = case.arrays[name].tolerance
        assert tolerance is not None  # the manifest reader requires one for these roles
        mask = arrays[tolerance.where.removeprefix("!")] if tolerance.where else None
        got = _to_array(results[name])
        comparisons.append(compare(name, got, arrays[name], tolerance, mask, float32=float32))
    if not comparisons:
        return None, "the case has no output to compare"
    worst = max(comparisons, key=lambda comparison: comparison.severity)
    return worst, "; ".join(comparison.reason for comparison in comparisons if comparison.reason)


def _to_tensor(array: Array, device: torch.device, float32: bool) -> Any:
    """The array as a tensor; text stays an array."""
    if array.dtype.kind in "US":
        return array
    tensor = torch.from_numpy(np.ascontiguousarray(array).reshape(array.shape)).to(device)
    return tensor.float() if float32 and tensor.dtype == torch.float64 else tensor


def _to_array(value: Any) -> Array:
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
