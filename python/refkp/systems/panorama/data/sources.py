"""Where panoramas come from: folders and CSV files. Source: spec panorama 5."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from refkp._checks import fail
from refkp._files import visible_files
from refkp.systems.panorama.data.captions import read_rows
from refkp.systems.panorama.views.images import read_panorama

#: File name endings that a panorama may have.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")


def find_panoramas(source: str | Path) -> list[Path]:
    """The panoramas of a folder (sorted by name, subfolders included, hidden files not) or of a CSV file.

    A CSV file has a column `url` with one path per row, absolute or relative to the file; rows that name the
    same panorama again, with another question, count once.

    Raises:
        ValueError: nothing is there, or the CSV lacks its column.
    """
    source = Path(source)
    if source.is_dir():
        paths = [path for path in visible_files(source) if path.suffix.lower() in IMAGE_SUFFIXES]
    elif source.suffix.lower() == ".csv" and source.is_file():
        rows = read_rows(source, ("url",))
        paths = list(dict.fromkeys(source.parent / row.values["url"] for row in rows))
    else:
        fail("find_panoramas", "source", "a folder of panoramas or a CSV file", repr(str(source)))
    if not paths:
        remedy = f"Panoramas end in {', '.join(IMAGE_SUFFIXES)}."
        fail("find_panoramas", "source", "a place with at least one panorama", repr(str(source)), remedy)
    return paths


def unreadable_panoramas(paths: Iterable[Path]) -> dict[Path, str]:
    """The panoramas that `read_panorama` refuses, with its reason; every one is decoded to find out."""
    distinct = list(dict.fromkeys(paths))
    with ThreadPoolExecutor() as pool:
        reasons = pool.map(_reason, distinct)
        return {path: reason for path, reason in zip(distinct, reasons, strict=True) if reason is not None}


def _reason(path: Path) -> str | None:
    try:
        read_panorama(path)
    except ValueError as error:
        return str(error)
    return None
