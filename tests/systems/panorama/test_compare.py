"""The comparison of overlap losses: its statistics and one small run of the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

pytest.importorskip("jsonargparse", reason="needs the extra `train`")
pytest.importorskip("lightning", reason="needs the extra `train`")
pytest.importorskip("transformers", reason="needs the extra `panorama`")
pytest.importorskip("matplotlib", reason="needs the extra `viz`")
pytest.importorskip("PIL", reason="needs the extra `viz`")

from PIL import Image

from refkp.systems.panorama.commands.compare import CONDITIONS, compare, spread


def test_spread_of_one_value_has_no_deviation() -> None:
    assert spread([0.25]) == (0.25, 0.0)


@pytest.mark.slow
def test_the_command_reports_every_condition(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "panoramas"
    folder.mkdir()
    for index in range(3):
        picture = torch.randint(0, 255, (32, 64, 3), generator=torch.Generator().manual_seed(index))
        Image.fromarray(picture.to(torch.uint8).numpy()).save(folder / f"{index}.png")
    out = tmp_path / "out"
    assert compare(["--data", str(folder), "--out", str(out), "--seeds=1", "--epochs=1"]) == 0
    document = json.loads((out / "compare.json").read_text())
    assert list(document) == list(CONDITIONS)
    assert all(0 <= entry["after"][0]["val/tokens/retrieval"] <= 1 for entry in document.values())
    assert (out / "report.html").stat().st_size > 10_000
    assert all(name in capsys.readouterr().out for name in ("true correspondences, turned tiles",))
