"""Tables as people and their spreadsheets write them."""

from __future__ import annotations

import csv
from pathlib import Path


def csv_rows(path: Path | str, reader: str) -> tuple[list[str], list[dict[str, str]]]:
    """The columns of a CSV file, and its rows as column -> text; spaces around text and empty rows left out.

    A field that a row lacks is empty.

    Args:
        path: the file, text in UTF-8.
        reader: the function that errors name.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such text.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file, skipinitialspace=True)
            columns = [name.strip() for name in table.fieldnames or ()]
            table.fieldnames = columns
            rows = [{name: (value or "").strip() for name, value in row.items() if name} for row in table]
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{reader}: {path} is no CSV file: {error}. Write it as text in UTF-8.") from error
    return columns, [row for row in rows if any(row.values())]
