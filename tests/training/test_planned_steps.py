"""The planned number of optimiser steps."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from refkp.training.optim import planned_steps


def trainer(**settings: Any) -> Any:
    """What is read of a Trainer; ten batches in an epoch."""
    data = SimpleNamespace(train_dataloader=lambda: range(10))
    defaults = {
        "datamodule": data,
        "max_epochs": 3,
        "max_steps": -1,
        "accumulate_grad_batches": 1,
        "limit_train_batches": 1.0,
    }
    return SimpleNamespace(**{**defaults, **settings})


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({}, 30),
        ({"max_steps": 7}, 7),
        ({"max_steps": 70}, 30),
        ({"max_epochs": -1, "max_steps": 70}, 70),
        ({"accumulate_grad_batches": 4}, 9),
        ({"limit_train_batches": 4}, 12),
        ({"limit_train_batches": 0.5}, 15),
    ],
)
def test_steps(settings: dict[str, Any], steps: int) -> None:
    assert planned_steps(trainer(**settings)) == steps


def test_errors() -> None:
    with pytest.raises(ValueError, match="limited: the learning rate falls over its steps"):
        planned_steps(trainer(max_epochs=-1))
    with pytest.raises(ValueError, match="given a LightningDataModule"):
        planned_steps(trainer(datamodule=None))
