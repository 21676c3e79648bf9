"""Specs as plain values and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import pytest

pytest.importorskip("jsonargparse", reason="needs the extra `train`")

from refkp.training.config import from_plain


@dataclass(frozen=True)
class Inner:
    betas: tuple[float, float] = (0.9, 0.98)
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outer:
    inner: Inner | None = None
    name: str = "a"


@pytest.mark.parametrize("spec", [Outer(), Outer(Inner((0.1, 0.2), {"think": False}), "b")])
def test_round_trip(spec: Outer) -> None:
    assert from_plain(Outer, asdict(spec)) == spec
    assert from_plain(Outer, json.loads(json.dumps(asdict(spec)))) == spec


@pytest.mark.parametrize("values", [{"colour": 1}, {"name": [1]}, {"inner": {"betas": "wide"}}])
def test_what_does_not_fit_is_an_error(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must describe a Outer"):
        from_plain(Outer, values)
