"""The rules by which estimates are judged; nothing here needs torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EvaluationSpec:
    """The rules.

    Args:
        dataset: name of the data set, which decides the tolerance of the visibility test: see
            `visibility_tolerance`.
        min_visible: without a list of targets, instances that show no more than this part are no targets.
        with_vsd: False leaves VSD out, and with it the average of the three.
    """

    dataset: str = ""
    min_visible: float = 0.1
    with_vsd: bool = True
