"""Caption files: CSV tables of panoramas with questions and answers. Source: spec panorama 5.

Two kinds of columns are read: `url,query,annotation`, where the query names a subject (QuIC-360), and
`url,instruction,response`, where the instruction is the whole question. `url` is a path, absolute or relative
to its CSV file.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TextIO

from refkp._checks import fail

_SUBJECT_COLUMNS = ("query", "annotation")
_INSTRUCTION_COLUMNS = ("instruction", "response")


@dataclass(frozen=True)
class Caption:
    """One row of a caption file."""

    panorama: Path
    query: str  # a subject, or a whole instruction
    answer: str
    instruction: bool  # `query` is a whole instruction
    origin: str  # file and line, for messages


class Row(NamedTuple):
    """One row of a CSV file."""

    values: dict[str, str]  # column -> text without outer spaces
    origin: str  # file and line, for messages


def read_captions(sources: Sequence[str | Path]) -> list[Caption]:
    """The rows of several caption files, one after the other.

    Raises:
        ValueError: a file lacks its columns or has no row, or a row lacks its panorama, question or answer;
            the message names file and line.
    """
    captions = [caption for source in sources for caption in _read_captions(Path(source))]
    if not captions:
        fail(
            "read_captions", "sources", "caption files with at least one row", [str(item) for item in sources]
        )
    return captions


def _read_captions(source: Path) -> Iterator[Caption]:
    columns = set(read_columns(source))
    kinds = [kind for kind in (_SUBJECT_COLUMNS, _INSTRUCTION_COLUMNS) if columns.issuperset(kind)]
    if len(kinds) != 1:
        rule = "a CSV file with columns url,query,annotation or url,instruction,response"
        fail("read_captions", "sources", rule, f"{','.join(sorted(columns))} in {str(source)!r}")
    question, answer = kinds[0]
    for row in read_rows(source, ("url", question, answer)):
        yield Caption(
            source.parent / row.values["url"],
            row.values[question],
            row.values[answer],
            kinds[0] == _INSTRUCTION_COLUMNS,
            row.origin,
        )


def read_rows(source: Path, columns: Sequence[str]) -> Iterator[Row]:
    """The rows of a CSV file, each with a text in every one of `columns`.

    Raises:
        ValueError: a column is missing, or empty in some row; the message names file and line.
    """
    missing = [column for column in columns if column not in read_columns(source)]
    if missing:
        found = f"{','.join(read_columns(source))} in {str(source)!r}"
        fail("read_rows", "source", f"a CSV file with a column `{missing[0]}`", found)
    with _open(source) as file:
        reader = csv.DictReader(file)
        for row in reader:
            origin = f"{source}, line {reader.line_num}"
            values = {column: (row[column] or "").strip() for column in columns}
            for column, value in values.items():
                if not value:
                    remedy = "Fill it in or remove the row."
                    fail("read_rows", "source", f"filled in column `{column}` of every row", origin, remedy)
            yield Row(values, origin)


def read_columns(source: Path) -> list[str]:
    """The column names of a CSV file; none for an empty one."""
    with _open(source) as file:
        return list(csv.DictReader(file).fieldnames or ())


def _open(source: Path) -> TextIO:
    return source.open(newline="", encoding="utf-8-sig")  # spreadsheets begin their files with a mark
