"""`refkp pose eval` of a result file with the true poses, and of a run that has learned nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("embreex", reason="needs the extra `pose`")
pytest.importorskip("lightning", reason="needs the extra `train`")
pytest.importorskip("cv2", reason="needs the extra `pose`")
pytest.importorskip("PIL", reason="needs the extra `viz`")
pytest.importorskip("rich", reason="needs the extra `train`")
pytest.importorskip("trimesh", reason="needs the extra `pose`")

from refkp import cli
from refkp.data.meshes import Mesh
from refkp.systems.pose.data.datamodule import open_source
from refkp.systems.pose.data.generator import generate_scenes
from refkp.systems.pose.data.spec import GeneratorSpec
from refkp.systems.pose.metrics.csv import Estimate, read_bop_csv, write_bop_csv
from refkp.systems.pose.templates.rendering import render_templates


def cube() -> Mesh:
    corners = np.array([[x, y, z] for x in (-40.0, 40.0) for y in (-40.0, 40.0) for z in (-40.0, 40.0)])
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = [face for a, b, c, d in quads for face in ((a, b, c), (a, c, d))]
    colours = np.random.default_rng(0).integers(0, 255, (8, 3), dtype=np.uint8)
    return Mesh(corners, np.array(faces, dtype=np.int64), vertex_colours=colours)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pictures of a cube."""
    folder = tmp_path_factory.mktemp("my_data")
    spec = GeneratorSpec(4, size=(48, 64), max_objects=2, max_occluders=0, samples=1)
    generate_scenes({3: cube()}, folder, spec, seed=1)
    return folder


def evaluate(data: Path, out: Path, *options: str) -> dict[str, Any]:
    assert cli.main(["pose", "eval", "--data", str(data), "--out", str(out), *options]) == 0
    return json.loads((out / "summary.json").read_text())


def true_poses(data: Path) -> list[Estimate]:
    source = open_source(data)
    return [
        Estimate(*scene.key, instance.obj_id, 1.0,
                 instance.cam_from_obj[:3, :3], instance.cam_from_obj[:3, 3], -1.0)
        for scene in map(source.__getitem__, range(len(source)))
        for instance in scene.instances
    ]  # fmt: skip


def test_true_poses_have_all_recalls(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bop_csv(tmp_path / "truth.csv", true_poses(data))
    values = evaluate(data, tmp_path / "out", "--csv", str(tmp_path / "truth.csv"))
    assert values["ar_mssd"] == values["ar_mspd"] == 1.0
    # Stored depth has steps of 0.1 mm, and outlines of occluded objects lose a pixel here and there.
    assert values["ar_vsd"] > 0.95
    assert values["objects"].keys() == {"3"}
    assert values["median_translation"] < 1e-6
    assert "failures" not in values
    printed = capsys.readouterr().out
    assert "object 3" in printed
    assert "detections" not in printed  # a file comes with its own


def test_a_limit_leaves_later_pictures_out(data: Path, tmp_path: Path) -> None:
    rows = true_poses(data)
    write_bop_csv(tmp_path / "truth.csv", rows)
    values = evaluate(data, tmp_path / "out", "--csv", str(tmp_path / "truth.csv"), "--limit", "2")
    assert values["num_targets"] == sum(row.scene_id < 2 for row in rows)


def test_run_or_file(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["pose", "eval", "--data", str(data)]) == 2
    assert "`run, csv` must be one of them; got neither" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_is_judged_against_guesses(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    render_templates(cube(), 3, data / "templates", level=0, size=(96, 128), workers=1,
                     K=((115.0, 0.0, 64.0), (0.0, 115.0, 48.0), (0.0, 0.0, 1.0)))  # fmt: skip
    run = tmp_path / "run"
    arguments = ["--data", str(data), "--out", str(run), "--trainer.max_steps=1", "--data.val_fraction=0.25"]
    assert cli.main(["train", "pose", "--config", "tiny", *arguments]) == 0
    values = evaluate(data, tmp_path / "out", "--run", str(run), "--method", "mine")
    assert pytest.approx(values["patch_accuracy_chance"]) == 1 / 65
    assert 0 <= values["patch_accuracy_overall"] < 0.6
    assert values["random_template_deg"] > values["nearest_template_deg"] > 5
    counted = values["num_estimated"] + sum(values["failures"].values())
    assert counted >= values["num_targets"]
    file = tmp_path / "out" / f"mine_{data.name.replace('_', '-')}-test.csv"
    assert len(read_bop_csv(file)) == counted - sum(values["failures"].values())
    assert "true visible masks" in capsys.readouterr().out
