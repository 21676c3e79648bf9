"""The smallest panorama training: options of the command."""

from __future__ import annotations

from pathlib import Path

SMALL = [
    *("--config", "tiny", "--model.model.vision.encoder.image_size=32", "--data.viewing.erp_height=32"),
    *("--model.model.language.lora.rank=2", "--data.batch_size=2", "--data.repeat=1"),
    *("--trainer.max_epochs=1", "--trainer.enable_progress_bar=false"),
]


def arguments(table: Path, run: Path, *options: str) -> list[str]:
    """Training and validation on one caption file."""
    return ["--data", str(table), f"--data.val_source={table}", "--out", str(run), *SMALL, *options]
