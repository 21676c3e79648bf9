"""A small set of rendered samples, and the options of small networks on it."""

from __future__ import annotations

from pathlib import Path

from refkp.systems.multiview.body.species import species_body
from refkp.systems.multiview.data.rendered import render_samples
from refkp.systems.multiview.data.sample_spec import SampleSpec

SMALL = [
    *("--config", "tiny", "--model.model.encoder.source=tiny", "--model.model.encoder.image_size=32"),
    *("--model.model.body.dim=32", "--model.model.body.depth=1", "--model.model.body.heads=2"),
    *("--model.model.camera.hidden=[16]", "--model.model.fusion.layers=1", "--data.num_workers=0"),
    *("--data.batch_size=4", "--trainer.max_steps=6", "--trainer.check_val_every_n_epoch=1"),
    *("--trainer.log_every_n_steps=1", "--data.augmentation=null"),
]


def write_data(path: Path, *, num_animals: int = 4) -> Path:
    """Four samples of each animal in three views."""
    spec = SampleSpec(num_animals=num_animals, num_poses=4, num_views=3, size=32)
    render_samples(path, species_body("insect"), spec, seed=2)
    return path
