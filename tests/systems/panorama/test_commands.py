"""The commands, end to end on small inputs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jsonargparse", reason="needs the extra `train`")
pytest.importorskip("PIL", reason="needs the extra `panorama`")
pytest.importorskip("rich", reason="needs the extra `train`")
pytest.importorskip("lightning", reason="needs the extra `train`")
pytest.importorskip("transformers", reason="needs the extra `panorama`")
pytest.importorskip("matplotlib", reason="needs the extra `viz`")
pytest.importorskip("PIL", reason="needs the extra `viz`")
pytest.importorskip("rich", reason="needs the extra `train`")

from PIL import Image
from torch import Tensor

from refkp.systems.panorama.commands.budget import budget
from refkp.systems.panorama.commands.tiles import tiles
from refkp.systems.panorama.commands.train import train
from refkp.systems.panorama.training.system import PANORAMA

SMALL = [
    "--model.model.vision.encoder.image_size=32",
    "--data.viewing.erp_height=32",
    "--data.batch_size=2",
    "--data.repeat=1",
    "--trainer.max_epochs=1",
    "--trainer.enable_progress_bar=false",
]


def test_tiles_draws_every_picture(panorama_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "pictures"
    options = ["--out", str(out), "--size", "48", "--tokens", "6", "--max_pairs", "1"]
    assert (
        tiles(
            [
                str(panorama_folder / "pano_0.png"),
                *options,
                "--layout.pitch_min_deg=-67.5",
                "--layout.pitch_max_deg=67.5",
            ]
        )
        == 0
    )
    names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert names == {
        "mosaic.png",
        "outlines.png",
        "coverage.png",
        "pair_graph.png",
        "pairs/0_1.png",
        "layout.json",
    }


def test_tiles_reads_no_more_of_a_large_panorama_than_it_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from refkp.systems.panorama.views import rendering

    Image.new("L", (6000, 3000), 90).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4_000_000)  # it is above the limit of Pillow
    shapes, render = [], rendering.render_views

    def rendered(erp: Tensor, *args: Any, **options: Any) -> rendering.ViewSet:
        shapes.append(tuple(erp.shape))
        return render(erp, *args, **options)

    monkeypatch.setattr(rendering, "render_views", rendered)
    options = ["--out", str(tmp_path / "out"), "--size", "32", "--tokens", "4", "--max_pairs", "0"]
    assert tiles([str(tmp_path / "large.png"), *options]) == 0
    assert shapes == [(1, 3, 1024, 2048)]


@pytest.mark.parametrize("strategy", ["sliding_window", "resize", "anyres"])
def test_tiles_draws_every_strategy(strategy: str, panorama_folder: Path, tmp_path: Path) -> None:
    options = ["--out", str(tmp_path), "--size", "32", f"--crops.strategy={strategy}"]
    assert tiles([str(panorama_folder / "pano_0.png"), *options]) == 0
    assert (tmp_path / "outlines.png").exists()
    assert not (tmp_path / "pair_graph.png").exists()
    with pytest.raises(ValueError, match="Give one of the two"):
        tiles([str(panorama_folder / "pano_0.png"), *options, "--layout.overlap=0.2"])


@pytest.mark.parametrize(("option", "value"), [("size", "0"), ("tokens", "0"), ("max_pairs", "-1")])
def test_tiles_refuses_counts_without_a_meaning(
    option: str, value: str, panorama_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=f"`{option}` must be at least"):
        tiles([str(panorama_folder / "pano_0.png"), "--out", str(tmp_path), f"--{option}={value}"])


def test_budget_prints_and_writes_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        budget(["--layout.overlap=0.2", "--encoder.patch_size=32", "--json", str(tmp_path / "b.json")]) == 0
    )
    assert "7 x 7 = 49" in capsys.readouterr().out
    written = json.loads((tmp_path / "b.json").read_text())
    assert (written["num_views"], written["vision_tokens"]["concat"]) == (6, 280)


def test_a_run_is_complete_and_repeatable(panorama_folder: Path, tmp_path: Path) -> None:
    data = ["--data", str(panorama_folder), "--data.val_fraction=0.5"]
    summaries = []
    for name in ("first", "second"):
        assert train(["--config", "tiny", *data, "--out", str(tmp_path / name), *SMALL]) == 0
        summaries.append(json.loads((tmp_path / name / "vision" / "summary.json").read_text()))
    first, second = summaries
    assert (first["before"], first["after"]) == (second["before"], second["after"])
    assert set(first["after"]) >= set(PANORAMA.reported) - {"val/caption"}  # the vision stage has no texts
    run = tmp_path / "first" / "vision"
    assert "erp_height: 32" in (run / "config.yaml").read_text()
    assert len(list((run / "checkpoints").glob("*.ckpt"))) == 2
    assert list(run.glob("events.out.tfevents.*"))


@pytest.mark.parametrize("option", ["--model.lr=1", "--data.shuffle=true", "--nonsense=1"])
def test_unknown_options_are_rejected(
    option: str, panorama_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        train(["--config", "tiny", "--data", str(panorama_folder), "--out", str(tmp_path), option])
    assert option.split("=")[0].removeprefix("--") in capsys.readouterr().err


def test_unknown_presets_and_keys_are_rejected(
    panorama_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match="one of base, tiny, or a YAML file; got 'huge'"):
        train(["--config", "huge", "--data", str(panorama_folder)])
    config = tmp_path / "mine.yaml"
    config.write_text("model: {optimizer: {learning_rate: 1.0}}\n")
    with pytest.raises(SystemExit):
        train(["--config", str(config), "--data", str(panorama_folder)])
    assert "learning_rate" in capsys.readouterr().err


@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.skipif("REFKP_DATA" not in os.environ, reason="needs $REFKP_DATA")
def test_held_out_retrieval_rises_without_collapse(tmp_path: Path) -> None:
    """Six real panoramas to train, two held out: retrieval at twice its start, rank not down by a quarter."""
    folder = Path(os.environ["REFKP_DATA"]) / "panorama" / "hdri_haven"
    train(
        [
            "--config",
            "tiny",
            "--data",
            str(folder),
            "--out",
            str(tmp_path),
            "--trainer.enable_progress_bar=false",
        ]
    )
    summary = json.loads((tmp_path / "vision" / "summary.json").read_text())
    before, after = summary["before"], summary["after"]
    for name in ("tokens", "projected"):
        start = before[f"val/{name}/retrieval"]
        assert after[f"val/{name}/retrieval"] >= min(2 * start, (1 + start) / 2)
        assert after[f"val/{name}/effective_rank"] >= 0.75 * before[f"val/{name}/effective_rank"]
        assert after[f"val/{name}/retrieval_elsewhere"] < after[f"val/{name}/retrieval"] / 4
