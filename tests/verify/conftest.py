"""Made-up golden folders, and adapters that answer them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refkp.verify import registry

Array = np.ndarray[Any, Any]
MakeGolden = Callable[..., Path]


def spec(array: Array, role: str, rtol: float = 0.0, atol: float = 0.0, where: str = "") -> dict[str, Any]:
    """A manifest entry for an array."""
    entry: dict[str, Any] = {"shape": list(array.shape), "dtype": str(array.dtype), "role": role}
    if role in ("output", "gradient"):
        entry["tolerance"] = {"rtol": rtol, "atol": atol} | ({"where": where} if where else {})
    return entry


@pytest.fixture
def make_golden(tmp_path: Path) -> MakeGolden:
    """Write a golden folder with one case: arrays by name, each as (array, role[, rtol, atol, where])."""

    def make(function: str = "made_up", system: str = "keypoints", **arrays: tuple[Any, ...]) -> Path:
        folder = tmp_path / "golden" / system
        folder.mkdir(parents=True, exist_ok=True)
        values = {name: np.asarray(entry[0]) for name, entry in arrays.items()}
        specs = {name: spec(values[name], *entry[1:]) for name, entry in arrays.items()}
        np.savez(folder / "case.npz", allow_pickle=False, **values)
        case = {
            "id": "case",
            "function": function,
            "file": "case.npz",
            "params": {"factor": 2.0},
            "arrays": specs,
        }
        manifest = {"schema": 1, "system": system, "cases": [case]}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return tmp_path / "golden"

    return make


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Register an adapter for the function `made_up` of the keypoint system, for one test."""
    registry.adapters("keypoints")
    monkeypatch.setitem(registry._TABLES, "keypoints", dict(registry._TABLES["keypoints"]))

    def register(run: Callable[..., dict[str, Any]], op: str | None = None) -> None:
        registry.adapter("keypoints", "made_up", op=op)(run)

    return register
