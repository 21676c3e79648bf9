"""Rules that options of several commands keep."""

from __future__ import annotations

from typing import Any

import torch

from refkp._checks import fail, require_choice


def require_counts(command: str, options: Any, *names: str, least: int = 1) -> None:
    """Raise ValueError unless each named option is at least `least`; one that is None was not given."""
    for name in names:
        value = getattr(options, name)
        if value is not None and value < least:
            fail(f"refkp panorama {command}", name, f"at least {least}", value)


def require_device(command: str, device: str) -> None:
    """Raise ValueError unless `device` is the CPU, or a CUDA device that is there."""
    require_choice(f"refkp panorama {command}", "device", device, ("cpu", "cuda"))
    if device == "cuda" and not torch.cuda.is_available():
        fail(f"refkp panorama {command}", "device", "one that is there", "'cuda' without a GPU", "Use cpu.")
