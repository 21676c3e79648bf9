"""The real bottle, where the real inputs are at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def bottle_file() -> Path:
    """The mesh file of the bottle."""
    folder = os.environ.get("REFKP_DATA")
    if folder is None:
        pytest.skip("REFKP_DATA does not name the folder of the real inputs")
    return Path(folder) / "pose" / "fuze_bottle" / "fuze.obj"
