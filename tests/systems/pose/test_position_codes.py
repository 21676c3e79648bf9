"""The script that compares position codes, with a few steps of the smallest training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("lightning", reason="needs the extra `train`")
pytest.importorskip("jsonargparse", reason="needs the extra `train`")
pytest.importorskip("trimesh", reason="needs the extra `pose`")
pytest.importorskip("embreex", reason="needs the extra `pose`")
pytest.importorskip("PIL", reason="needs the extra `viz`")
pytest.importorskip("cv2", reason="needs the extra `pose`")
pytest.importorskip("rich", reason="needs the extra `train`")

from scripts.compare_position_codes import main
from tests.systems.pose.training.small import SMALL, write_data


@pytest.mark.slow
def test_a_code_is_trained_and_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = str(write_data(tmp_path / "data")), tmp_path / "out"
    folders = ["--data", data, "--seen", data, "--unseen", data, "--out", str(out)]
    small = [option for option in SMALL if option not in ("--config", "tiny", "--trainer.max_epochs=2")]
    code = ["--codes", "s2rope_equivariant", "--steps", "2", "--limit", "1", "--jobs", "1"]
    assert main([*folders, *code, *small]) == 0
    written = json.loads((out / "position_codes.json").read_text())
    assert written["steps"] == 2
    (row,) = written["rows"]
    assert row["code"] == "s2rope_equivariant"
    assert row["train_seconds"] > 0
    for name in ("seen", "unseen"):
        assert row[name]["num_targets"] >= 1
        assert 0 <= row[name]["found"] <= 1
        assert row[name]["chance"] == 1 / 17
    assert "seen: patches right" in capsys.readouterr().out
    assert (out / "s2rope_equivariant_0" / "train" / "summary.json").exists()
