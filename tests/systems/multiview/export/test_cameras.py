"""Cameras as JSON come back bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from refkp.geometry.rig import Rig
from refkp.systems.multiview.calibration import Calibration
from refkp.systems.multiview.export import read_cameras
from refkp.systems.multiview.export.cameras import write_cameras
from tests.systems.multiview.export.rigs import made_up_calibration


def test_every_number_comes_back(tmp_path: Path) -> None:
    calibration = made_up_calibration()
    write_cameras(tmp_path / "cameras.json", calibration, "mm")
    back = read_cameras(tmp_path / "cameras.json")
    assert back.names == calibration.names
    for got, want in zip(back.rig, calibration.rig, strict=True):
        assert got.dtype == torch.float64
        assert torch.equal(got, want)
    assert torch.equal(back.sizes, calibration.sizes)
    assert back.file == tmp_path / "cameras.json"


def test_the_file_says_what_its_numbers_mean(tmp_path: Path) -> None:
    write_cameras(tmp_path / "cameras.json", made_up_calibration(), "cm")
    told = json.loads((tmp_path / "cameras.json").read_text())
    assert (told["schema_version"], told["unit"], len(told["cameras"])) == (1, "cm", 3)
    assert told["pixel_convention"].startswith("edge")
    assert set(told["cameras"][0]) == {"name", "size", "K", "distortion", "R", "t"}
    assert told["cameras"][1]["size"] == [640, 513]


def test_names_of_any_alphabet(tmp_path: Path) -> None:
    calibration = made_up_calibration()._replace(names=("côté", 'a "b"', "上"))
    write_cameras(tmp_path / "cameras.json", calibration, "mm")
    assert read_cameras(tmp_path / "cameras.json").names == calibration.names


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("schema_version",), 2, "`.*schema_version` must be 1; got 2"),
        (("pixel_convention",), "centre", "must be 'edge"),
        (("cameras",), [], "a list of at least one"),
        (("cameras", 1, "K"), [[1, 2], [3, 4]], r"cameras\[1\]: K` must be finite numbers \[3,3\]"),
        (("cameras", 0, "t"), [0, 0, None], r"finite numbers \[3\]"),
        (("cameras", 0, "t"), [0, 0, float("nan")], r"finite numbers \[3\]"),
        (("cameras", 2, "size"), [640.5, 480], "a width and a height"),
        (("cameras", 2, "name"), "a", "different names"),
        (("cameras", 2, "name"), 3, "must be text"),
        (("cameras", 2), 3, "a JSON object"),
    ],
)
def test_other_files_are_refused(
    path: tuple[str | int, ...], value: object, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "cameras.json"
    write_cameras(file, made_up_calibration(), "mm")
    document = json.loads(file.read_text())
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    file.write_text(json.dumps(document))
    with pytest.raises(ValueError, match=message):
        read_cameras(file)


def test_no_camera_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "cameras.json").write_text("{")
    with pytest.raises(ValueError, match="is no JSON file"):
        read_cameras(tmp_path / "cameras.json")
    with pytest.raises(FileNotFoundError):
        read_cameras(tmp_path / "other.json")


def test_a_unit_that_is_none(tmp_path: Path) -> None:
    none = Calibration(
        (), Rig(*(torch.zeros(0, *shape) for shape in ((3, 3), (5,), (3, 3), (3,)))), torch.zeros(0, 2)
    )
    with pytest.raises(ValueError, match="write_cameras: `unit` must be one of"):
        write_cameras(tmp_path / "cameras.json", none, "inch")  # type: ignore[arg-type]
