"""`refkp pose generate` with meshes as people have them: one line that says what is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("embreex", reason="needs the extra `pose`")
pytest.importorskip("jsonargparse", reason="needs the extra `train`")
pytest.importorskip("PIL", reason="needs the extra `viz`")
pytest.importorskip("trimesh", reason="needs the extra `pose`")

from refkp.cli import main
from tests.support.mesh_colours import obj_text, write_picture

OPTIONS = ["--unit", "mm", "--scenes", "1", "--size", "[30, 40]", "--max_occluders", "0"]


def test_a_picture_given_as_a_mesh(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_picture(tmp_path / "mug.png", (9, 9, 9))
    out = tmp_path / "out"
    assert main(["pose", "generate", "--meshes", str(tmp_path / "mug.png"), "--out", str(out), *OPTIONS]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "mug.png" in line
    assert "Name the mesh" in line
    assert not out.exists()


def test_lost_colours_are_a_line_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "box.obj"
    path.write_text(obj_text(library="lost.mtl"))
    command = [sys.executable, "-m", "refkp", "pose", "generate", "--meshes", str(path), *OPTIONS]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out")], capture_output=True, text=True, check=True
    )
    told = [line for line in done.stderr.splitlines() if "lost.mtl" in line]
    assert told == [
        f"refkp: warning: load_mesh: {path}: its colours are lost, so it is grey: there is no material file 'lost.mtl'."
    ]
    assert "load_mesh(" not in done.stderr
