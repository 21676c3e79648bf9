"""Golden folders: one subfolder per system with `manifest.json` (schema 1) and one `.npz` per case."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

SCHEMA = 1
#: What feeds the function, and what is compared; arrays of other roles (mask, reference) are not handed over.
FED_ROLES = ("input", "weight")
COMPARED_ROLES = ("output", "gradient")
ROLES = (*FED_ROLES, *COMPARED_ROLES, "mask", "reference")


class GoldenError(ValueError):
    """A golden folder, manifest or array file that cannot be used."""


class Tolerance(NamedTuple):
    """|got - want| <= atol + rtol |want|, only where the array named by `where` is true (`!name`: is
    false)."""

    rtol: float
    atol: float
    where: str | None = None


class ArraySpec(NamedTuple):
    """One array of a case as the manifest describes it."""

    shape: tuple[int, ...]
    dtype: str
    role: str
    tolerance: Tolerance | None  # of compared arrays


@dataclass(frozen=True)
class Case:
    """One golden case."""

    id: str
    system: str
    function: str
    params: Mapping[str, Any]
    arrays: Mapping[str, ArraySpec]
    file: Path

    def names(self, roles: tuple[str, ...]) -> list[str]:
        """The arrays that have one of `roles`."""
        return [name for name, spec in self.arrays.items() if spec.role in roles]


def load_cases(golden: Path) -> list[Case]:
    """Every case of a golden folder, by system and in the order of the manifests.

    Raises:
        GoldenError: there is no manifest below `golden`, or one is not what schema 1 says.
    """
    if not golden.is_dir():
        raise GoldenError(f"{golden} is not a folder; name a golden folder with --golden.")
    manifests = sorted(golden.glob("*/manifest.json"))
    if not manifests:
        raise GoldenError(f"{golden} holds no golden cases: expected SYSTEM/manifest.json in it.")
    return [case for manifest in manifests for case in _load_manifest(manifest)]


def load_arrays(case: Case) -> dict[str, Array]:
    """All arrays of a case.

    Raises:
        GoldenError: the file is missing or broken, or an array is not as the manifest describes it.
    """
    try:
        with np.load(case.file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in case.arrays}
    except KeyError as error:
        raise GoldenError(f"{case.file}: an array of the manifest is missing ({error.args[0]}).") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise GoldenError(f"{case.file} cannot be read: {error}") from error
    for name, array in arrays.items():
        spec = case.arrays[name]
        if array.shape != spec.shape or str(array.dtype).lstrip("<>|") != spec.dtype.lstrip("<>|"):
            raise GoldenError(
                f"{case.file}: {name} is {array.dtype}{list(array.shape)}, "
                f"but the manifest says {spec.dtype}{list(spec.shape)}."
            )
    return arrays


def _load_manifest(path: Path) -> list[Case]:
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise GoldenError(f"{path} cannot be read: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        found = manifest.get("schema") if isinstance(manifest, dict) else type(manifest).__name__
        raise GoldenError(f"{path}: schema must be {SCHEMA}; got {found!r}.")
    try:
        system = manifest["system"]
        return [_parse_case(path, system, entry) for entry in manifest["cases"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise GoldenError(f"{path}: not a manifest of schema {SCHEMA}: missing or wrong {error}.") from error


def _parse_case(path: Path, system: str, entry: Mapping[str, Any]) -> Case:
    arrays = {name: _parse_array(path, entry["id"], name, spec) for name, spec in entry["arrays"].items()}
    case = Case(
        id=entry["id"],
        system=system,
        function=entry["function"],
        params=entry.get("params") or {},
        arrays=arrays,
        file=path.parent / entry["file"],
    )
    for name, spec in arrays.items():
        where = spec.tolerance.where if spec.tolerance else None
        if where is not None and where.removeprefix("!") not in arrays:
            raise GoldenError(f"{path}: {case.id}: `where` of {name} names {where!r}, which is no array.")
    return case


def _parse_array(path: Path, case_id: str, name: str, spec: Mapping[str, Any]) -> ArraySpec:
    role = spec["role"]
    if role not in ROLES:
        raise GoldenError(f"{path}: {case_id}: role of {name} must be one of {ROLES}; got {role!r}.")
    tolerance = None
    if role in COMPARED_ROLES:
        entry = spec.get("tolerance") or {}
        if not {"rtol", "atol"} <= entry.keys():
            raise GoldenError(f"{path}: {case_id}: {name} ({role}) needs a tolerance with rtol and atol.")
        numbers = entry["rtol"], entry["atol"]
        if not all(isinstance(number, (int, float)) and 0 <= number < math.inf for number in numbers):
            rule = f"tolerance of {name} must be two finite numbers, at least 0"
            raise GoldenError(f"{path}: {case_id}: {rule}; got {numbers}.")
        tolerance = Tolerance(*numbers, entry.get("where"))
    return ArraySpec(tuple(spec["shape"]), spec["dtype"], role, tolerance)
