"""Every command of the guide runs, in its order, in one folder with a table of bones and a rig."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

pytest.importorskip("cv2", reason="needs the extra `multiview`")
pytest.importorskip("h5py", reason="needs the extra `multiview`")
pytest.importorskip("jsonargparse", reason="needs the extra `train`")

from refkp import cli
from tests.structure.tree import ROOT
from tests.support.skins import rigged_chain


def commands() -> list[list[str]]:
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "docs" / "multiview.md").read_text(), flags=re.DOTALL)
    return [shlex.split(line, comments=True)[1:] for block in blocks for line in block.splitlines()]


@pytest.mark.slow
def test_the_commands_of_the_guide_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bones.csv").write_text("joint,parent,length\nbody,,\nleg_left,body,2\nleg_right,body,2\n")
    rigged_chain().save(tmp_path / "animal.glb")
    assert len(commands()) >= 6
    for command in commands():
        assert cli.main(command) == 0, command
