"""The examples at the end of the helps run as they stand, where that takes seconds."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import torch

pytest.importorskip("jsonargparse", reason="needs the extra `train`")
pytest.importorskip("matplotlib", reason="needs the extra `viz`")
pytest.importorskip("PIL", reason="needs the extra `panorama`")

from PIL import Image

from refkp import cli

#: Command -> the files that its example leaves.
EXAMPLES = {
    "info": (),
    "verify": ("rows.json",),
    "panorama tiles": ("tiles/layout.json", "tiles/mosaic.png", "tiles/pairs/0_1.png"),
    "panorama budget": (),
    "panorama quality": (),
}


@pytest.mark.parametrize("command", EXAMPLES)
def test_an_example_runs(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([*command.split(), "--help"])
    assert stop.value.code == 0
    program, *arguments = shlex.split(capsys.readouterr().out.partition("\nexample:\n")[2])
    assert program == "refkp"

    noise = torch.randint(0, 256, (64, 128, 3), generator=torch.Generator().manual_seed(0))
    Image.fromarray(noise.to(torch.uint8).numpy()).save(tmp_path / "PANO.jpg")
    for name in ("pyproject.toml", "golden"):  # an installed package finds its golden values in a checkout
        (tmp_path / name).symlink_to(Path(__file__).parents[1] / name)
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 0
    assert all((tmp_path / name).stat().st_size for name in EXAMPLES[command])
