"""Random state as plain values."""

from __future__ import annotations

import io
import random

import numpy as np
import torch

from refkp.training.random_state import random_state, set_random_state


def draws() -> tuple[float, float, float, float]:
    return (
        float(torch.rand(())),
        float(np.random.rand()),  # noqa: NPY002 (the global state is what is kept)
        random.random(),
        random.gauss(0, 1),
    )


def test_the_same_numbers_follow_after_a_file() -> None:
    random.gauss(0, 1)  # leaves a second number behind
    file = io.BytesIO()
    torch.save(random_state(), file)
    first = draws()
    assert draws() != first
    file.seek(0)
    set_random_state(torch.load(file, weights_only=True))
    assert draws() == first
