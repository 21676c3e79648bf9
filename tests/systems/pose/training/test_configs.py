"""The configurations name the models that `preset` names."""

from __future__ import annotations

import importlib.resources

import pytest

pytest.importorskip("yaml", reason="needs the extra `train`")
pytest.importorskip("jsonargparse", reason="needs the extra `train`")

import yaml

from refkp.systems.pose.model.spec import VpogSpec, preset
from refkp.training.config import from_plain


@pytest.mark.parametrize("name", ["tiny", "base"])
def test_a_configuration_has_the_model_of_its_name(name: str) -> None:
    file = importlib.resources.files("refkp.systems.pose.training.configs").joinpath(f"{name}.yaml")
    config = yaml.safe_load(file.read_text())
    assert from_plain(VpogSpec, config["model"].get("model", {})) == preset(name)
