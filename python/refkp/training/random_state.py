"""The state of all random generators as plain values, for checkpoints that are read without unpickling code."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def random_state() -> dict[str, Any]:
    """State of torch, CUDA, NumPy and Python."""
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002 (what libraries draw from)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [name, [int(key) for key in keys], int(position), int(has_gauss), float(cached)],
        "python": random.getstate(),
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Go on where `random_state` was taken; CUDA only where as many devices are there."""
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] and torch.cuda.device_count() == len(state["cuda"]):
        torch.cuda.set_rng_state_all([device.cpu() for device in state["cuda"]])
    np.random.set_state(tuple(state["numpy"]))  # noqa: NPY002 (as above)
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
