"""Curves read back from a TensorBoard log."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("tensorboard", reason="needs the extra `train`")

from torch.utils.tensorboard import SummaryWriter

from refkp.training.curves import read_curves


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with SummaryWriter(str(tmp_path)) as log:
        for step in range(0, 30, 10):
            log.add_scalar("train/total", step / 4, step)
            log.add_scalar("train/variance", 1.0, step)
    return tmp_path


def test_steps_and_values_come_back_under_their_names(folder: Path) -> None:
    curves = read_curves(folder, ["train/total"])
    assert curves == {"train/total": ([0, 10, 20], [0.0, 2.5, 5.0])}


def test_a_name_that_was_never_logged_is_an_error_that_lists_the_others(folder: Path) -> None:
    with pytest.raises(ValueError, match="got 'train/loss', there are train/total, train/variance"):
        read_curves(folder, ["train/loss"])
