"""What is wrong with a session: what was measured, and what to do about it."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """One fault."""

    kind: str  # in a few words, the same for the same fault
    where: str  # the view, or views, or file
    measured: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.where}: {self.measured}. {self.remedy}"
