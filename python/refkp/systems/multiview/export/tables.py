"""JSON files whose fields are checked as they are read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from refkp._checks import fail


class Table:
    """The fields of a JSON object; each error names the function that reads, the file and the field.

    Args:
        values: the object.
        function: that reads it.
        where: the file, and where in it.

    Raises:
        ValueError: it is no object.
    """

    def __init__(self, values: Any, function: str, where: str) -> None:
        if not isinstance(values, Mapping):
            fail(function, where, "a JSON object", f"{values!r:.80}")
        self._values, self._function, self._where = values, function, where

    def fail(self, key: str, rule: str, got: object, remedy: str = "") -> NoReturn:
        """Raise ValueError about a field."""
        fail(self._function, f"{self._where}: {key}", rule, f"{got!r:.200}", remedy)

    def value(self, key: str) -> Any:
        """A field that has to be there."""
        if key not in self._values:
            fail(
                self._function, self._where, f"with the field {key!r}", f"{', '.join(self._values) or 'none'}"
            )
        return self._values[key]

    def text(self, key: str) -> str:
        """A field of text."""
        value = self.value(key)
        if not isinstance(value, str):
            self.fail(key, "text", value)
        return value

    def number(self, key: str) -> float:
        """A field of a finite number."""
        value = self.value(key)
        good = isinstance(value, int | float) and not isinstance(value, bool)
        if not good or not abs(value) < 1e300:
            self.fail(key, "a finite number", value)
        return float(value)

    def array(self, key: str, shape: tuple[int, ...]) -> np.ndarray:
        """A field of finite numbers, float64 of a shape."""
        value = self.value(key)
        try:
            array = np.array(value, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            array = np.zeros(0)
        if array.shape != shape or not np.isfinite(array).all():
            self.fail(key, f"finite numbers [{','.join(map(str, shape))}]", value)
        return array

    def tables(self, key: str) -> list[Table]:
        """A field of a list of objects, at least one."""
        value = self.value(key)
        if not isinstance(value, Sequence) or isinstance(value, str) or not value:
            self.fail(key, "a list of at least one", value)
        return [Table(item, self._function, f"{self._where}: {key}[{at}]") for at, item in enumerate(value)]

    def require(self, key: str, wanted: object, remedy: str = "") -> None:
        """Raise ValueError unless a field has this value."""
        value = self.value(key)
        if value != wanted or type(value) is not type(wanted):
            self.fail(key, repr(wanted), value, remedy)


def read_table(function: str, path: Path) -> Table:
    """The object of a JSON file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds something else.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda _: math.nan)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{function}: {path} is no JSON file: {error!r:.200}.") from error
    return Table(values, function, str(path))
