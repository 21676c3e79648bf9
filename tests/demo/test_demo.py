"""`refkp demo` end to end, with as little data, training and timing as each page needs, and once as it is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("lightning", reason="needs the extra `train`")
pytest.importorskip("transformers", reason="needs the extra `panorama`")
pytest.importorskip("matplotlib", reason="needs the extra `viz`")
pytest.importorskip("PIL", reason="needs the extra `viz`")
pytest.importorskip("embreex", reason="needs the extra `pose`")
pytest.importorskip("cv2", reason="needs the extra `pose`")
pytest.importorskip("h5py", reason="needs the extra `multiview`")
pytest.importorskip("rich", reason="needs the extra `train`")
pytest.importorskip("trimesh", reason="needs the extra `pose`")

import numpy as np
import torch
from PIL import Image

from refkp import demo
from refkp.data.synthetic import render_panorama, sun_azimuth_deg
from refkp.demo import captions, multiview, panorama, pose
from refkp.demo.captions import Judged, SunTask, make_scenes, scenes_of
from refkp.demo.pose import PoseTask
from refkp.ops import OPS
from refkp.systems.multiview.data.spec import SessionSpec
from refkp.systems.panorama.data.captions import read_captions
from refkp.viz.report import Report

TITLES = [
    "A panorama as overlapping perspective tiles",
    "Learning from true overlaps",
    "A language model that reads the tiles",
    "A recording of four cameras",
    "An object and a template of it",
    "Poses of pictures that training has not seen",
    "The kernels",
]
FEW_SCENES = SunTask(num_training=6, num_turns=2, num_choosing=2, num_judged=4, height=32)


@pytest.fixture
def panoramas(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    for seed in range(3):
        picture = render_panorama(seed, 64, supersample=1).permute(1, 2, 0).numpy()
        Image.fromarray(picture).save(folder / f"square_{seed}.png")
    return folder


@pytest.fixture
def little_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pose.match_page, "__defaults__", (PoseTask(6, 2),))
    monkeypatch.setattr(pose.training_page, "__defaults__", (PoseTask(6, 2),))


@pytest.mark.slow
@pytest.mark.usefixtures("little_data")
def test_own_panoramas_without_captions(
    panoramas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    options = ["--out", str(out), "--input", str(panoramas), "--epochs", "1", "--seconds", "0"]
    assert demo.main(options) == 0
    said = capsys.readouterr().out
    assert str(out / "report.html") in said.splitlines()[-1]
    assert "[6/6," in said
    text = (out / "report.html").read_text()
    assert re.findall("<h2>(.*?)</h2>", text) == [title for title in TITLES if "language" not in title]
    assert text.count("data:image/png") in (15, 16)  # after one epoch there may be no pose to show
    assert "square_0.png" in text  # the panorama of the pictures
    assert "square_2.png" in text  # the held-out one
    assert all(f"<td>{op}</td>" in text for op in OPS)
    assert not (out / "panoramas").exists()


@pytest.mark.slow
def test_the_captions_page_tells_numbers_and_baselines(tmp_path: Path) -> None:
    report = Report("demo", "")
    for _ in range(2):  # a second time over what the first left
        captions.caption_page(report, tmp_path, 1, FEW_SCENES)
    text = report.write(tmp_path / "report.html").read_text()
    assert text.count(f"<h2>{TITLES[2]}</h2>") == 2
    assert "of 4 held-out scenes answered right" in text
    assert text.count("<b>25 %</b><span>by chance</span>") == 2
    assert "of a grey picture" in text
    assert text.count("data:image/png") == 4
    assert not list(tmp_path.glob(".*"))


@pytest.mark.slow
def test_the_page_of_a_recording_names_the_fault_and_tells_errors(tmp_path: Path) -> None:
    report = Report("demo", "")
    for _ in range(2):  # a second time over what the first left
        multiview.session_page(
            report, tmp_path, SessionSpec(num_frames=40, size=(240, 320), missing=0.2, outliers=0.05)
        )
    text = report.write(tmp_path / "report.html").read_text()
    assert text.count("stream out of step: cam2: 1 frame late against the other views.") == 2
    assert text.count("data:image/png") == 6
    means = [float(value) for value in re.findall(r"<td[^>]*>([0-9.]+)%</td>", text)]
    linear, _, agreed, _, smoothed, _ = (value for value in means[:9] if value != round(value))
    assert smoothed < agreed < linear / 5


def test_captions_say_where_the_sun_is_and_no_scene_is_in_two_sets(tmp_path: Path) -> None:
    make_scenes(tmp_path, FEW_SCENES)
    seeds = {}
    for name, count in (("train", 12), ("choose", 2), ("judged", 4)):
        rows = read_captions([tmp_path / f"{name}.csv"])
        assert len(rows) == count
        seeds[name] = {row.panorama.name.partition("_")[0] for row in rows}
    assert not seeds["train"] & seeds["choose"]
    assert not (seeds["train"] | seeds["choose"]) & seeds["judged"]
    for row in rows:
        azimuth = sun_azimuth_deg(int(row.panorama.name.partition("_")[0]))
        assert row.answer == captions._ANSWERS[round(azimuth / 90) % 4]


@pytest.mark.parametrize("seed", [0, 2, 3])  # in scene 1 a house hides the sun
def test_the_sun_is_the_brightest_where_it_is_said_to_be(seed: int) -> None:
    for scene in scenes_of(seed, 64, turns=4):
        sky = scene.picture[:, :32].float().mean(0)
        smooth = torch.nn.functional.avg_pool2d(sky[None], 3, 1)[0]
        column = int(smooth.amax(0).argmax()) + 1.5
        azimuth = (column / 128 - 0.5) * 360
        off = (azimuth - scene.azimuth_deg + 180) % 360 - 180
        assert abs(off) < 8, (azimuth, scene.azimuth_deg)


def test_turned_and_mirrored_scenes_are_the_scene() -> None:
    [scene] = scenes_of(3, 16, turns=0)
    turned, mirrored = scenes_of(3, 16, turns=2)
    assert any(torch.equal(turned.picture, scene.picture.roll(k, 2)) for k in range(32))
    assert any(torch.equal(mirrored.picture, scene.picture.flip(2).roll(k, 2)) for k in range(32))


def test_only_answers_to_the_letter_are_right() -> None:
    assert Judged(["left", "ahead", "left"], ["left", "ahead!", "right"]).accuracy == pytest.approx(1 / 3)


def test_scenes_are_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panorama, "_SCENES", 2)
    monkeypatch.setattr(panorama, "_SCENE_HEIGHT", 16)
    (tmp_path / "scenes").mkdir()
    (tmp_path / "scenes" / "of_another_version.png").touch()
    folder = panorama.make_scenes(tmp_path / "scenes")
    assert [path.name for path in sorted(folder.iterdir())] == ["scene_0.png", "scene_1.png"]
    assert np.asarray(Image.open(folder / "scene_1.png")).shape == (16, 32, 3)


def test_each_page_is_on_disk_before_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[list[str]] = []

    def page(title: str) -> demo.Page:
        def write(report: Report) -> None:
            path = tmp_path / "report.html"
            written.append(re.findall("<h2>(.*?)</h2>", path.read_text()) if path.exists() else [])
            report.section(title)

        return demo.Page(title, write)

    monkeypatch.setattr(demo, "_pages", lambda options: [page("a"), page("b"), page("c")])
    assert demo.main(["--out", str(tmp_path)]) == 0
    assert written == [[], ["a"], ["a", "b"]]


@pytest.mark.slow
def test_the_whole_demo_as_it_is(tmp_path: Path) -> None:
    """First page, console, files and what was learned; the time of two quiet cores shows in the CPU seconds."""
    out = tmp_path / "demo"
    before, start = os.times(), time.perf_counter()
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-m", "refkp", "demo", "--out", str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    after, seconds = os.times(), time.perf_counter() - start
    used = after.children_user + after.children_system - before.children_user - before.children_system
    lines = done.stdout.splitlines()
    assert len(lines) + len(done.stderr.splitlines()) < 40, done.stdout + done.stderr
    busy = max(1.0, 2 * seconds / used)  # how much longer than two quiet cores this machine takes
    first = next(line for line in lines if line.startswith("first page"))
    assert int(re.findall(r"after (\d+) s", first)[0]) < 60 * busy
    assert used < 2 * 240
    text = (out / "report.html").read_text()
    assert re.findall("<h2>(.*?)</h2>", text) == TITLES
    numbers = {what: value for value, what in re.findall("<b>(.*?)</b><span>(.*?)</span>", text)}
    right, *guesses = (value for what, value in numbers.items() if _is_about_the_sun(what))
    assert _number(right) > 15 + max(map(_number, guesses))
    near, blind = (
        _number(value)
        for what, value in numbers.items()
        if what in ("of the poses within 20°", "of the templates")
    )
    assert near > 5 * blind
    for name in (
        "panorama.png",
        "panoramas",
        "run",
        "captions/scenes",
        "captions/run",
        "pose/data",
        "pose/run",
    ):
        assert (out / name).exists(), name


def _is_about_the_sun(what: str) -> bool:
    return "scenes answered right" in what or "most frequent answer" in what or "grey picture" in what


def _number(text: str) -> float:
    return float(re.findall(r"[\d.]+", text)[0])
