"""Specs as plain values and back, through the same reader as the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from refkp._extras import named_extras

Spec = TypeVar("Spec")


def from_plain(kind: type[Spec], values: Mapping[str, Any]) -> Spec:
    """The dataclass `kind` of what `dataclasses.asdict` made of one, nested ones included.

    Raises:
        ValueError: a key that `kind` does not have, or a value of the wrong type.
    """
    with named_extras():
        from jsonargparse import ArgumentError, ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--spec", type=kind)
    try:
        return parser.instantiate(parser.parse_object({"spec": dict(values)})).spec
    except ArgumentError as error:
        raise ValueError(f"from_plain: `values` must describe a {kind.__name__}; {error}") from error
