"""Set-up of every test run: Triton's interpreter without a GPU, two threads (one in a worker), fixed seeds."""

from __future__ import annotations

import importlib.util
import os
import random

import numpy as np
import pytest
import torch

# Triton reads this when a kernel is defined, so it must be set before any module of kernels is imported.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

if "PYTEST_XDIST_WORKER" in os.environ:  # a worker has one core, and so have the processes that it starts
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
else:
    torch.set_num_threads(min(2, os.cpu_count() or 1))

if importlib.util.find_spec("hypothesis") is not None:
    import hypothesis

    hypothesis.settings.register_profile("refkp", deadline=None, max_examples=25, derandomize=True)
    hypothesis.settings.load_profile("refkp")


@pytest.fixture(autouse=True)
def _fixed_seeds() -> None:
    """The same random numbers in every test, in whatever order the tests run."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  (libraries under test may still draw from the global generator)
    torch.manual_seed(0)
