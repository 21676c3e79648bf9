"""What every command shares: parser, device, counts, output folder, tables."""

from __future__ import annotations

import importlib
import os
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from refkp import cli, commands
from refkp.systems import built_systems


def test_help_ends_with_the_example_on_its_own_line() -> None:
    pytest.importorskip("jsonargparse")
    example = (
        "refkp panorama budget --layout.hfov_deg 90 --layout.overlap 0.5 --view_size 224 --erp_height 1024"
    )
    for make in (commands.parser, commands.plain_parser):
        parser = make("refkp x", "Count.", example=example)
        assert parser.format_help().endswith(f"example:\n  {example}\n")


def test_the_words_of_the_options(tmp_path: Path) -> None:
    parser = commands.plain_parser("refkp x", None, example="refkp x")
    commands.add_run(parser, "pose")
    commands.add_out(parser, "pictures", default="pictures")
    commands.add_device(parser)
    options = parser.parse_args(["--run", str(tmp_path)])
    assert (options.run, options.out, options.device) == (tmp_path, Path("pictures"), "auto")
    with pytest.raises(SystemExit):
        parser.parse_args(["--run", "x", "--device", "tpu"])
    with pytest.raises(SystemExit):
        parser.parse_args([])


@pytest.mark.parametrize(
    ("option", "has_gpu", "kind"),
    [("auto", False, "cpu"), ("auto", True, "cuda"), ("cpu", True, "cpu"), ("cuda", True, "cuda")],
)
def test_the_device_is_chosen_and_said(
    option: str,
    has_gpu: bool,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "H100")
    device = commands.chosen_device(option)
    assert device == torch.device(kind)
    hardware = "H100" if kind == "cuda" else f"{torch.get_num_threads()} threads"
    assert capsys.readouterr().out == f"{kind}, {hardware}, float32\n"


def test_cuda_without_a_gpu_is_an_error_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"`device` must be .* got 'cuda' without a GPU\. Use --device cpu"):
        commands.chosen_device("cuda")


def test_counts() -> None:
    options = Namespace(size=3, rounds=0, limit=None)
    commands.require_counts("refkp x", options, "size", "limit")
    commands.require_counts("refkp x", options, "rounds", least=0)
    with pytest.raises(ValueError, match="refkp x: `rounds` must be at least 1; got 0"):
        commands.require_counts("refkp x", options, "size", "rounds")


WRITERS = {
    "pose generate": ["--scenes", "3", "--objects", "1"],
    "pose render-templates": ["none.obj", "--unit", "mm"],
    "pose infer": [
        "none.png",
        "--mesh",
        "none.obj",
        "--unit",
        "mm",
        "--camera",
        "none.json",
        "--run",
        "none",
    ],
    "pose eval": ["--run", "none", "--data", "none"],
    "multiview generate": [],
    "multiview inspect": ["none"],
    "multiview triangulate": ["none"],
    "multiview calibrate": ["none"],
    "multiview fit": ["none", "--body", "mouse"],
    "multiview eval": ["--run", "none", "--data", "none"],
    "multiview infer": ["--run", "none", "--video", "cam0=none"],
    "panorama tiles": ["none.jpg"],
    "panorama compare": ["--data", "none"],
    "panorama eval": ["--run", "none", "--data", "none.csv"],
    "demo": [],
}


@pytest.mark.parametrize("place", ["file", "file/in/it", "closed/below"])
@pytest.mark.parametrize("command", WRITERS)
def test_a_place_that_cannot_be_written_is_told_before_the_work(
    command: str,
    place: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("jsonargparse")
    (tmp_path / "file").write_text("kept")
    (tmp_path / "closed").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "closed")
    arguments = [*command.split(), *WRITERS[command], "--out", str(tmp_path / place)]
    assert cli.main(arguments) == cli.USAGE_ERROR
    told = capsys.readouterr().err
    assert told.startswith(f"refkp: refkp {command}: `out` must be a ")
    name = place.partition("/")[0]
    assert str(tmp_path / name) in told
    assert "Give " in told
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["closed", "file"]
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize("system", built_systems())
def test_every_verb_that_writes_is_among_them(system: str) -> None:
    pytest.importorskip("jsonargparse")
    package = f"refkp.systems.{system}.commands"
    verbs = {
        verb: file for verb, (file, _) in importlib.import_module(package).VERBS.items() if verb != "train"
    }
    for verb, file in verbs.items():
        parser = importlib.import_module(f"{package}.{file}")._parser()
        writes = any("--out" in action.option_strings for action in parser._actions)
        assert writes == (f"{system} {verb}" in WRITERS)


@pytest.mark.parametrize(
    "command", [["panorama", "budget"], ["bench"], ["verify"], ["panorama", "quality", "none.jpg"]]
)
def test_a_file_of_numbers_that_cannot_be_written_is_told_before_the_work(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("jsonargparse")
    (tmp_path / "file").write_text("kept")
    for place, text in (
        (tmp_path, "the name of a file"),
        (tmp_path / "file" / "a.json", "in a folder; got the file"),
    ):
        assert cli.main([*command, "--json", str(place)]) == cli.USAGE_ERROR
        assert f"`json` must be {text}" in capsys.readouterr().err


def test_places_that_can_be_made_are_taken(tmp_path: Path) -> None:
    for out in (tmp_path, tmp_path / "new" / "below", Path("new"), None):
        commands.require_output("refkp x", Namespace(out=out, json=None if out is None else out / "a.json"))


def write_half(out: Path, error: BaseException) -> None:
    with commands.output_folder(out) as folder:
        (folder / "one.txt").write_text("half")
        raise error


def test_an_output_folder_gets_everything_or_nothing(tmp_path: Path) -> None:
    out = tmp_path / "a" / "out"
    with pytest.raises(RuntimeError):
        write_half(out, RuntimeError())
    assert not out.exists()
    with commands.output_folder(out) as folder:
        (folder / "one.txt").write_text("1")
        (folder / "pairs").mkdir()
        (folder / "pairs" / "stale.txt").write_text("")
        assert not (out / "one.txt").exists()
    (out / "mine.txt").write_text("the user's own")
    with pytest.raises(KeyboardInterrupt):
        write_half(out, KeyboardInterrupt())
    assert (out / "one.txt").read_text() == "1"
    with commands.output_folder(out) as folder:
        (folder / "one.txt").write_text("3")
        (folder / "pairs").mkdir()
    assert sorted(path.name for path in out.iterdir()) == ["mine.txt", "one.txt", "pairs"]
    assert (out / "one.txt").read_text() == "3"
    assert not list((out / "pairs").iterdir())


def test_a_table_aligns_numbers_to_the_right_and_words_to_the_left() -> None:
    rows = [["render", 1.23456, "5.1 ms", None], ["e2p", 12345, "-0.2 ms", "fast"]]
    assert commands.table(["way", "PSNR", "time", "note"], rows).splitlines() == [
        "way      PSNR     time  note",
        "render  1.235   5.1 ms  -",
        "e2p     12345  -0.2 ms  fast",
    ]
    assert commands.table(["op", "n"], []) == "op  n"
