"""The networks of the presets, which stand in YAML alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from refkp.systems.pose.model.spec import VpogSpec
from refkp.training.cli import preset_paths
from refkp.training.config import from_plain


def preset(name: str) -> VpogSpec:
    """The model of `--config NAME`."""
    yaml = pytest.importorskip("yaml", reason="needs the extra `train`")
    [path] = preset_paths(name, "refkp.systems.pose.training.configs")
    return from_plain(VpogSpec, yaml.safe_load(Path(path).read_text())["model"].get("model", {}))
