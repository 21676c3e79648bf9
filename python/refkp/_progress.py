"""A bar on a terminal, and nothing elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from refkp._extras import named_extras

T = TypeVar("T")


def progress_bar(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """The items, with a bar that goes away at the end.

    Args:
        items: what is worked on.
        description: before the bar.
        total: how many there are, where `items` has no length.
    """
    if not sys.stdout.isatty():
        yield from items
        return
    with named_extras():
        from rich.progress import track
    yield from track(items, description, total=total, transient=True)
