"""Made-up sessions: what cannot be made is told, and nothing that was there is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("cv2", reason="needs the extra `multiview`")
pytest.importorskip("h5py", reason="needs the extra `multiview`")

from refkp.cli import main

SMALL = ["--num_frames", "2", "--size", "[48, 64]"]


@pytest.mark.parametrize(
    ("option", "value"),
    [("seed", "-1"), ("body_length", "0"), ("size", "[49, 64]"), ("k1", ".nan"), ("missing", "1.0")],
)
def test_what_cannot_be_made_is_told_and_leaves_nothing(
    option: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["multiview", "generate", "--out", str(tmp_path / "session")]
    assert main([*out, *SMALL, f"--{option}", value]) == 2
    assert f"`{option}` must be" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", [".", ".."])
def test_the_folder_that_one_is_in_is_never_replaced(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert main(["multiview", "generate", "--out", place, *SMALL]) == 2
    assert "must be another folder than the one you are in" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["here"]
