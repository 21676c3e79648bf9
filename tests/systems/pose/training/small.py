"""The smallest pose training: data, and options of the command."""

from __future__ import annotations

from pathlib import Path

from refkp.data.shapes import KINDS, make_object
from refkp.systems.pose.data.generator import generate_scenes
from refkp.systems.pose.data.spec import GeneratorSpec
from refkp.systems.pose.templates.rendering import render_templates

SMALL = [
    *("--config", "tiny", "--model.model.encoder.image_size=48", "--model.model.encoder.dim=32"),
    *("--model.model.encoder.depth=1", "--model.model.encoder.heads=2", "--model.model.attention.depth=1"),
    *("--model.model.attention.window=2", "--data.batch_size=2", "--data.samples.num_positives=2"),
    *("--data.samples.num_negatives=1", "--trainer.max_epochs=2", "--trainer.enable_progress_bar=false"),
]


def write_data(root: Path, num_scenes: int = 8) -> Path:
    """Small pictures of one object, and its templates."""
    mesh = make_object(next(iter(KINDS)), seed=0)
    spec = GeneratorSpec(num_scenes, size=(60, 80), max_objects=1, max_occluders=0, samples=1)
    generate_scenes({1: mesh}, root, spec)
    render_templates(mesh, 1, root / "templates", level=0)
    return root
