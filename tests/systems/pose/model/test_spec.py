"""The sizes of the model and what they may be."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest
import torch

pytest.importorskip("lightning", reason="needs the extra `train`")
pytest.importorskip("jsonargparse", reason="needs the extra `train`")
pytest.importorskip("rich", reason="needs the extra `train`")

from refkp.systems.pose.model.spec import (
    AttentionSpec,
    ClassifierSpec,
    EncoderSpec,
    FlowSpec,
    VpogSpec,
)
from refkp.systems.pose.model.vpog import Vpog
from refkp.training.config import from_plain
from tests.systems.pose.model.presets import preset


@pytest.mark.parametrize(
    ("name", "encoder", "attention"), [("base", 85.65, 56.7), ("large", 303.1, 302.4), ("tiny", 0.82, 0.79)]
)
def test_presets_have_the_published_sizes(name: str, encoder: float, attention: float) -> None:
    """Millions of parameters, counted without memory."""
    with torch.device("meta"):
        model = Vpog(preset(name))
    counts = [sum(p.numel() for p in part.parameters()) / 1e6 for part in (model.encoder, model.attention)]
    assert counts == [pytest.approx(encoder, abs=0.05), pytest.approx(attention, abs=0.05)]
    if name == "base":
        heads = sum(p.numel() for p in model.classifier.parameters()) / 1e6
        assert heads == pytest.approx(1.05, abs=0.01)


@pytest.mark.parametrize("name", ["tiny", "base", "large"])
def test_plain_values_and_back(name: str) -> None:
    spec = preset(name)
    attention = AttentionSpec(position="s2rope", sphere_split=(7, 7, 3))
    for version in (spec, replace(spec, attention=attention)):
        assert from_plain(VpogSpec, asdict(version)) == version
        assert from_plain(VpogSpec, json.loads(json.dumps(asdict(version)))) == version


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (EncoderSpec, {"image_size": 225}, "`image_size` must be a multiple of `patch_size` 16; got 225"),
        (EncoderSpec, {"dim": 90}, r"`dim` must be a multiple of 4 \* heads = 48; got 90"),
        (EncoderSpec, {"normalisation": "mine"}, "`normalisation` must be one of 'imagenet'"),
        (AttentionSpec, {"position": "rope"}, "`position` must be one of 'so3'"),
        (AttentionSpec, {"sphere_split": (7, 7, 3)}, r"for 's2rope' and 's2rope_equivariant' alone; got \(7"),
        (AttentionSpec, {"so3_fraction": 0}, r"`so3_fraction` must be in \(0,1\]"),
        (ClassifierSpec, {"num_layers": 0}, "`num_layers` must be at least 1"),
        (FlowSpec, {"hidden": ()}, "`hidden` must be at least one size"),
        (FlowSpec, {"min_scale": 0.0}, "`min_scale` must be positive"),
    ],
)
def test_errors(kind: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**options)
