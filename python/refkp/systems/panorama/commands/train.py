"""`refkp train panorama`: one stage of training, or all, with held-out values before and after."""

from __future__ import annotations


def train(argv: list[str]) -> int:
    """Train one stage, or with `--stage all` each in turn, and report held-out values before and after."""
    from refkp.systems.panorama.training.system import run_training

    run_training(argv)
    return 0
