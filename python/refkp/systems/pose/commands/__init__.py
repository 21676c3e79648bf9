"""The commands of the pose system: `refkp pose VERB` and `refkp train pose`."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["VERBS"]

#: Verb -> the function that runs it, for `refkp pose VERB`.
VERBS: dict[str, Callable[[list[str]], int]] = {}
