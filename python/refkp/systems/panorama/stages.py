"""The stages of training, in order: `refkp.systems.panorama.model.trainable` says what each trains."""

from __future__ import annotations

from typing import Literal

Stage = Literal["vision", "resampler", "finetune"]
STAGES: tuple[Stage, ...] = ("vision", "resampler", "finetune")
