"""`refkp demo` end to end, on small panoramas, one epoch and a minimum of timing."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest

pytest.importorskip("lightning", reason="needs the extra `train`")
pytest.importorskip("transformers", reason="needs the extra `panorama`")
pytest.importorskip("matplotlib", reason="needs the extra `viz`")
pytest.importorskip("PIL", reason="needs the extra `viz`")
pytest.importorskip("embreex", reason="needs the extra `pose`")
pytest.importorskip("cv2", reason="needs the extra `pose`")
pytest.importorskip("rich", reason="needs the extra `train`")
pytest.importorskip("trimesh", reason="needs the extra `pose`")

from PIL import Image

from refkp import demo
from refkp.data.synthetic import describe_panorama, render_panorama
from refkp.demo import panorama, pose
from refkp.ops import OPS


@pytest.fixture
def few_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pose pages with as little data as they need."""
    monkeypatch.setattr(pose, "_SCENES", 6)
    monkeypatch.setattr(pose, "_HELD_OUT", 2)


@pytest.fixture
def panoramas(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    for seed in range(3):
        picture = render_panorama(seed, 64, supersample=1).permute(1, 2, 0).numpy()
        Image.fromarray(picture).save(folder / f"square_{seed}.png")
    return folder


@pytest.mark.slow
@pytest.mark.usefixtures("few_pictures")
def test_the_report_tells_the_whole_run(
    panoramas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    options = ["--out", str(out), "--input", str(panoramas), "--epochs", "1", "--seconds", "0"]
    assert demo.main(options) == 0
    assert f"report: {out / 'report.html'}" in capsys.readouterr().out
    text = (out / "report.html").read_text()
    assert re.findall("<h2>(.*?)</h2>", text) == [
        "A panorama as overlapping perspective tiles",
        "Learning from true overlaps",
        "An object and a template of it",
        "Poses of pictures that training has not seen",
        "The kernels",
    ]
    assert text.count("data:image/png") in (10, 11)  # after one epoch there may be no pose to show
    assert "square_0.png" in text  # the panorama of the pictures
    assert "square_2.png" in text  # the held-out one
    assert all(f"<td>{op}</td>" in text for op in OPS)
    assert not (out / "panoramas").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("few_pictures")
def test_made_up_scenes_come_with_captions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panorama, "_SCENES", 3)
    monkeypatch.setattr(panorama, "_SCENE_HEIGHT", 64)
    assert demo.main(["--out", str(tmp_path), "--epochs", "1", "--seconds", "0"]) == 0
    text = (tmp_path / "report.html").read_text()
    assert "<h2>A language model that reads the tiles</h2>" in text
    truth = [describe_panorama(seed) for seed in range(3)]
    assert all(f"<td>{html.escape(caption)}</td>" in text for caption in truth)
    assert text.count("<td>held out</td>") == 1
    lines = (tmp_path / "captions.csv").read_text().splitlines()
    assert lines[0] == "url,query,annotation"
    assert [line.partition(",the scene,")[2].strip('"') for line in lines[1:]] == truth


def test_scenes_are_rendered_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panorama, "_SCENES", 2)
    monkeypatch.setattr(panorama, "_SCENE_HEIGHT", 16)
    first = panorama.find_or_render(None, tmp_path)
    stamps = [path.stat().st_mtime_ns for path in first]
    assert [path.name for path in first] == ["scene_0.png", "scene_1.png"]
    assert panorama.find_or_render(None, tmp_path) == first
    assert [path.stat().st_mtime_ns for path in first] == stamps
    assert sorted(tmp_path.iterdir()) == first
