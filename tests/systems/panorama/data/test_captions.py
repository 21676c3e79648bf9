"""Caption files: their two kinds, and errors that name file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from refkp.systems.panorama.data.captions import read_captions


def _write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_both_kinds_are_read_and_joined(tmp_path: Path) -> None:
    subjects = _write(tmp_path, "a.csv", '\ufeffurl,query,annotation\nx.jpg,the door," Red, tall. "\n')
    folder = tmp_path / "inner"
    folder.mkdir()
    whole = _write(folder, "b.csv", "id,response,instruction,url\n7,Yes.,Is it dark?,/abs/y.jpg\n")
    first, second = read_captions([subjects, whole])
    assert (first.panorama, first.query, first.answer) == (tmp_path / "x.jpg", "the door", "Red, tall.")
    assert (first.instruction, first.origin) == (False, f"{subjects}, line 2")
    assert (second.panorama, second.query, second.answer) == (Path("/abs/y.jpg"), "Is it dark?", "Yes.")
    assert second.instruction


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    table = _write(tmp_path, "a.csv", 'url,query,annotation\n\nx.jpg,door,"two\nlines"\ny.jpg,door,\n')
    with pytest.raises(ValueError, match=r"column `annotation` of every row; got .*a\.csv, line 5"):
        read_captions([table])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("url,query\nx.jpg,door\n", r"url,query,annotation or .*; got query,url in .*a\.csv"),
        ("url,query,annotation,instruction,response\n", "url,query,annotation or"),
        ("query,annotation\ndoor,red\n", "a column `url`; got query,annotation"),
        ("url,query,annotation\nx.jpg\n", r"column `query` of every row; got .*line 2"),
        ("url,query,annotation\n", "at least one row"),
        ("", "url,query,annotation or"),
    ],
)
def test_errors(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        read_captions([_write(tmp_path, "a.csv", text)])
