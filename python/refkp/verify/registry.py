"""The adapters: which public call answers which golden function.

An adapter renames, reshapes, calls the public API and takes gradients. It holds no mathematics of its own
and no special case for a case id, so that a case nobody has seen is answered by the same calls.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor

from refkp.systems import SYSTEMS

Params = Mapping[str, Any]
Arrays = Mapping[str, Tensor]
Values = dict[str, Any]

#: adapter(params, input and weight arrays, backend) -> {array name: value}, or more than a case wants.
Adapter = Callable[[Params, Arrays, str | None], Mapping[str, Any]]


class Entry(NamedTuple):
    """An adapter and the op on whose backends its cases run (None: no op, they run once)."""

    adapter: Adapter
    op: str | None


#: By system; the adapters of each are in the module of its name.
_TABLES: dict[str, dict[str, Entry]] = {system: {} for system in SYSTEMS}


def adapter(system: str, function: str, *, op: str | None = None) -> Callable[[Adapter], Adapter]:
    """Register the decorated function as the adapter of one golden function."""

    def register(run: Adapter) -> Adapter:
        if function in _TABLES[system]:
            raise ValueError(f"adapter: {system}/{function} is registered twice.")
        _TABLES[system][function] = Entry(run, op)
        return run

    return register


def adapters(system: str) -> Mapping[str, Entry]:
    """The adapters of a system by golden function; none for a system that refkp does not know."""
    if system not in SYSTEMS:
        return {}
    importlib.import_module(f"refkp.verify.{system}")
    return _TABLES[system]
