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


def test_recordings_are_never_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A made-up session may be made again; one that does not say so is somebody's."""
    out = ["multiview", "generate", "--out", str(tmp_path / "session"), *SMALL]
    assert main(out) == 0
    assert main([*out, "--num_views", "2"]) == 0
    (tmp_path / "session" / "generated.json").unlink()
    before = sorted(tmp_path.rglob("*"))
    assert main(out) == 2
    assert "must be a new folder, or a made-up session to replace" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("command", [["triangulate"], ["fit", "--body", "quadruped"]])
def test_points_of_a_session_are_never_replaced(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session = str(tmp_path / "session")
    assert main(["multiview", "generate", "--out", session, *SMALL]) == 0
    before = (tmp_path / "session" / "points3d.h5").read_bytes()
    assert main(["multiview", command[0], session, "--out", session, *command[1:]]) == 2
    assert "`out` must be a folder that is no session" in capsys.readouterr().err
    assert (tmp_path / "session" / "points3d.h5").read_bytes() == before


@pytest.mark.parametrize("place", [".", ".."])
def test_the_folder_that_one_is_in_is_never_replaced(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert main(["multiview", "generate", "--out", place, *SMALL]) == 2
    assert "must be another folder than the one you are in" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["here"]
