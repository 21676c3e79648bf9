"""Values in JSON files, of the kind that is asked for: anything else is an error that names its place."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

import torch
from torch import Tensor

_REMEDY = "Fetch or write it again."


def parse_json(data: bytes | str, where: str) -> Any:
    """The content of a JSON file; an error names the file."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:  # of text, of its encoding, of thousands of brackets
        raise ValueError(f"{where} is not JSON: {error}. {_REMEDY}") from None


def table_in(value: Any, where: str) -> dict[str, Any]:
    """`value` itself, which must be a table of named values."""
    if not isinstance(value, dict):
        _refuse(where, "a table of named values", value)
    return value


def list_in(value: Any, where: str) -> list[Any]:
    """`value` itself, which must be a list."""
    if not isinstance(value, list):
        _refuse(where, "a list", value)
    return value


def entry_in(entry: Any, name: str, where: str) -> Any:
    """What a table holds under a name."""
    table = table_in(entry, where)
    if name not in table:
        raise ValueError(f"{where}: `{name}` is missing; found {', '.join(sorted(table))}. {_REMEDY}")
    return table[name]


def whole_in(value: Any, where: str) -> int:
    """A whole number, or text of one as the names of a table are."""
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        _refuse(where, "a whole number", value)
    if isinstance(value, float) and number != value:
        _refuse(where, "a whole number", value)
    if abs(number) >= 2**53:
        _refuse(where, "a whole number below 2^53", value)
    return number


def number_in(value: Any, where: str) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not _is_finite(value):
        _refuse(where, "a finite number", value)
    return float(value)


def numbers_in(value: Any, shape: tuple[int, ...], where: str) -> Tensor:
    """Finite numbers, float64 of `shape`, written in lists of any depth."""
    count = math.prod(shape)
    try:
        values = torch.tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        _refuse(where, f"{count} finite numbers", value)
    if values.numel() != count or not bool(torch.isfinite(values).all()):
        _refuse(where, f"{count} finite numbers", value)
    return values.reshape(shape)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond what a float holds
        return False


def _refuse(where: str, rule: str, value: Any) -> NoReturn:
    raise ValueError(f"{where} must be {rule}; got {value!r:.80}. {_REMEDY}")
