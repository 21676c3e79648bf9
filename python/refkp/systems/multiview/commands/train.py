"""`refkp train multiview`: training with held-out values before and after."""

from __future__ import annotations


def train(argv: list[str]) -> int:
    """Train the multi-view model, and report held-out values before and after."""
    from refkp.systems.multiview.training.system import run_training

    run_training(argv)
    return 0
