"""What every command shares: parser, device, counts, output folder, tables."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest
import torch

from refkp import commands


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
