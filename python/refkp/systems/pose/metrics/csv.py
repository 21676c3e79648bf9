"""Result files of the BOP challenge: METHOD_DATASET-SPLIT.csv with one estimate a row."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from refkp._checks import fail, require_shape
from refkp._files import write_text
from refkp.geometry.rotations import LARGEST_ROTATION_ERROR, rotation_error

COLUMNS = ("scene_id", "im_id", "obj_id", "score", "R", "t", "time")
#: What `time` holds when nobody measured it.
UNKNOWN_TIME = -1.0


class Estimate(NamedTuple):
    """The pose of one object in one picture, as somebody estimated it."""

    scene_id: int
    image_id: int
    obj_id: int
    score: float  # larger is surer; estimates of one object in one picture are ranked by it
    R: Tensor  # float64 [3,3], camera from object
    t: Tensor  # float64 [3], millimetres
    time: float  # seconds for the whole picture, the same in all its rows; -1: unknown

    @property
    def cam_from_obj(self) -> Tensor:
        """float64 [4,4]."""
        pose = torch.eye(4, dtype=torch.float64)
        pose[:3, :3], pose[:3, 3] = self.R, self.t
        return pose


def bop_csv_name(method: str, dataset: str, split: str = "test") -> str:
    """The name that the challenge's server reads method and data set from.

    Raises:
        ValueError: an underscore in a part (it separates them), or anything else but letters, digits, - and dots.

    >>> bop_csv_name("refkp-tiny", "ycbv")
    'refkp-tiny_ycbv-test.csv'
    """
    for argument, text in (("method", method), ("dataset", dataset), ("split", split)):
        if not re.fullmatch(r"[A-Za-z0-9.-]+", text):
            rule = "letters, digits, - and . (an underscore separates method and data set)"
            fail("bop_csv_name", argument, rule, repr(text), "Use a hyphen.")
    return f"{method}_{dataset}-{split}.csv"


def write_bop_csv(path: Path | str, estimates: Sequence[Estimate]) -> None:
    """Write estimates in their order; the file is there whole or not at all.

    Numbers are written so that reading gives the same doubles back.

    Raises:
        ValueError: a shape, a value that is not finite, or different times in the rows of one picture.

    Source: spec pose 6.5.
    """
    times: dict[tuple[int, int], float] = {}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for index, item in enumerate(estimates):
        _check(item, index)
        picture = (item.scene_id, item.image_id)
        if times.setdefault(picture, item.time) != item.time:
            rule = "the time of the whole picture, equal in all its rows"
            got = f"{times[picture]} and {item.time} in picture {picture}"
            fail("write_bop_csv", "estimates", rule, got, "Sum the seconds of a picture first.")
        R, t = (" ".join(map(repr, value.double().flatten().tolist())) for value in (item.R, item.t))
        writer.writerow((*picture, item.obj_id, repr(float(item.score)), R, t, repr(float(item.time))))
    write_text(path, text.getvalue())


def read_bop_csv(path: Path | str) -> list[Estimate]:
    """The estimates of a result file, in its order.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a wrong header, or a row that is not as the format says; the message names the line.

    Source: spec pose 6.5.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"read_bop_csv: there is no file {path}.")
    try:
        text = path.read_text(encoding="utf-8-sig")  # spreadsheets begin their files with a mark
        rows = list(csv.reader(io.StringIO(text, newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"read_bop_csv: {path} is no table of text: {error}. Write it again.") from None
    header = tuple(name.strip() for name in rows[0]) if rows else ()
    if header != COLUMNS:
        rule, got = f"a file whose first line is {','.join(COLUMNS)}", f"{','.join(header)!r} in {path}"
        fail("read_bop_csv", "path", rule, got)
    return [_parse(row, f"{path.name} line {number}") for number, row in enumerate(rows[1:], 2) if row]


def _parse(row: list[str], where: str) -> Estimate:
    if len(row) != len(COLUMNS):
        fail("read_bop_csv", where, f"{len(COLUMNS)} values", len(row))
    values = dict(zip(COLUMNS, row, strict=True))
    ids = [_whole(values[name], name, where) for name in COLUMNS[:3]]
    score, time = (_numbers(values[name], 1, name, where)[0] for name in ("score", "time"))
    R = torch.tensor(_numbers(values["R"], 9, "R", where), dtype=torch.float64).view(3, 3)
    t = torch.tensor(_numbers(values["t"], 3, "t", where), dtype=torch.float64)
    # Some writers keep few digits; what is no rotation even so is a mistake in the order of the numbers.
    if not float(rotation_error(R)) <= LARGEST_ROTATION_ERROR:
        fail("read_bop_csv", f"R of {where}", "a rotation, row by row", values["R"])
    return Estimate(ids[0], ids[1], ids[2], score, R, t, time)


def _whole(text: str, name: str, where: str) -> int:
    if not text.strip().isdigit():
        fail("read_bop_csv", f"{name} of {where}", "a whole number", repr(text))
    return int(text)


def _numbers(text: str, count: int, name: str, where: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split()]
    except ValueError:
        numbers = []
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        fail("read_bop_csv", f"{name} of {where}", f"{count} finite numbers separated by spaces", repr(text))
    return numbers


def _check(estimate: Estimate, index: int) -> None:
    require_shape("write_bop_csv", f"R of estimate {index}", estimate.R, "3,3")
    require_shape("write_bop_csv", f"t of estimate {index}", estimate.t, "3")
    numbers = [*estimate.R.flatten().tolist(), *estimate.t.tolist(), estimate.score, estimate.time]
    if not all(map(math.isfinite, numbers)):
        fail("write_bop_csv", f"estimate {index}", "finite", numbers, "Leave a failed estimate out.")
