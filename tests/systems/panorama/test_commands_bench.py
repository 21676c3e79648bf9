"""`refkp panorama bench` on a small case: the table, the JSON, the gate."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

pytest.importorskip("jsonargparse", reason="needs the extra `train`")

from refkp.systems.panorama.commands.bench import OURS, Case, bench, gate, grid_variants
from refkp.systems.panorama.overlaps.spec import PairRule
from refkp.systems.panorama.views.layout import ErpLayout

SMALL = ["--batch", "2", "--dim", "8", "--tokens", "4", "--rounds", "2"]


def test_bench_writes_a_table_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bench.json"
    assert bench([*SMALL, "--growth", "true", "--json", str(file)]) == 0
    printed = capsys.readouterr().out
    assert "torch pair by pair" in printed
    assert "pairs and correspondences from scratch" in printed
    document = json.loads(file.read_text())
    assert document["shape"] == [2, 9, 16, 8]
    assert {(row["loss"], row["mode"]) for row in document["rows"]} == {
        (loss, mode) for loss in ("grid", "sequential") for mode in ("forward", "forward+backward")
    }
    assert all(row["ratio"] == 1.0 for row in document["rows"] if row["variant"] == OURS)
    assert len({round(row["value"], 3) for row in document["rows"] if row["loss"] == "grid"}) == 1
    operators = {
        (row["mode"], row["variant"]): row["num_operators"]
        for row in document["rows"]
        if row["loss"] == "grid"
    }
    for mode in ("forward", "forward+backward"):
        assert operators[mode, OURS] < operators[mode, "torch pair by pair"] / 10
    assert [row["num_pairs"] for row in document["memory_growth"]] == [32, 32, 16, 16, 32]


@pytest.mark.parametrize("option", ["batch", "dim", "tokens", "rounds", "threads"])
def test_counts_of_zero_are_refused(option: str) -> None:
    with pytest.raises(ValueError, match=f"bench: `{option}` must be at least 1; got 0"):
        bench([*SMALL, f"--{option}=0"])


@pytest.mark.parametrize("device", ["tpu", *([] if torch.cuda.is_available() else ["cuda"])])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    with pytest.raises(ValueError, match="bench: `device` must be"):
        bench([*SMALL, f"--device={device}"])


def test_a_variant_that_is_wrong_is_not_timed() -> None:
    layout = ErpLayout.build()
    features = torch.randn(2, layout.num_views, 16, 8, requires_grad=True)
    case = Case(features, layout, (4, 4), PairRule(), 0.5)
    variants = grid_variants(case)
    gate("grid", variants, case.features)
    wrong = {**variants, "off": lambda: variants[OURS]() * 1.01}
    with pytest.raises(ValueError, match="`off` must be within"):
        gate("grid", wrong, case.features)


def test_errors() -> None:
    with pytest.raises(ValueError, match="rounds"):
        bench(["--rounds", "0"])
