"""What changes from epoch to epoch: weights of losses and the learning rate. Source: spec multiview g."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from refkp._checks import fail

Value = TypeVar("Value")


@dataclass(frozen=True)
class CurriculumStage:
    """What holds from an epoch on, until a later stage says otherwise.

    Args:
        epoch: the first one, from 0.
        weights: fields of the `loss:` section that are weights.
        lr_scale: the learning rate of the schedule is multiplied by this, above 0; None: as before.
    """

    epoch: int
    weights: Mapping[str, float] = field(default_factory=dict)
    lr_scale: float | None = None

    def __post_init__(self) -> None:
        if self.epoch < 0:
            fail("CurriculumStage", "epoch", "at least 0", self.epoch)
        if self.lr_scale is not None and not self.lr_scale > 0:
            fail("CurriculumStage", "lr_scale", "above 0", self.lr_scale)


def stepped(
    base: Mapping[str, Value], stages: Mapping[int, Mapping[str, Value]], epoch: int
) -> dict[str, Value]:
    """The values of an epoch: the base, overwritten by every stage that has begun, in their order.

    >>> stepped({"a": 1, "b": 1}, {10: {"a": 3}, 5: {"a": 2, "b": 2}}, 10)
    {'a': 3, 'b': 2}
    """
    values = dict(base)
    for first in sorted(stages):
        if epoch >= first:
            values |= stages[first]
    return values


def weights_at(stages: Sequence[CurriculumStage], epoch: int) -> dict[str, float]:
    """The weights that stages set by an epoch."""
    return stepped({}, {stage.epoch: stage.weights for stage in stages}, epoch)


def lr_scale_at(stages: Sequence[CurriculumStage], epoch: int) -> float:
    """What the learning rate is multiplied by in an epoch."""
    scales = {stage.epoch: {"lr": stage.lr_scale} for stage in stages if stage.lr_scale is not None}
    return stepped({"lr": 1.0}, scales, epoch)["lr"]
