"""`refkp panorama quality`: the table of all ways to render tiles."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("jsonargparse", reason="needs the extra `train`")
pytest.importorskip("PIL", reason="needs the extra `panorama`")

from refkp.systems.panorama.commands.quality import quality


@pytest.mark.parametrize("option", ["height", "size", "rounds", "threads"])
def test_counts_of_zero_are_refused(option: str) -> None:
    with pytest.raises(ValueError, match=f"quality: `{option}` must be at least 1; got 0"):
        quality(["any.png", f"--{option}=0"])


def test_the_command_writes_its_table(panorama_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.json"
    picture = str(panorama_folder / "pano_0.png")
    assert quality([picture, "--size", "8", "--rounds", "1", "--json", str(out)]) == 0
    rows = json.loads(out.read_text())
    assert [row["name"] for row in rows][-1] == 'e2p, antialias="box"'
    assert all(row["rounds"] == 1 and row["median_s"] > 0 for row in rows)
