"""Result files: round trip to the last bit, names, and errors that name the line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from refkp.geometry.sphere import random_rotation
from refkp.systems.pose.metrics.csv import Estimate, bop_csv_name, read_bop_csv, write_bop_csv

HEADER = "scene_id,im_id,obj_id,score,R,t,time"
ROW = "1,2,3,0.5,1 0 0 0 1 0 0 0 1,0 0 700,-1"


def estimates(count: int = 4) -> list[Estimate]:
    generator = torch.Generator().manual_seed(0)
    R = random_rotation(count, generator=generator)
    t = torch.randn(count, 3, dtype=torch.float64, generator=generator) * 100
    return [Estimate(48, index // 2, 5, 0.1 * index, R[index], t[index], 0.25) for index in range(count)]


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "folder" / bop_csv_name("refkp-tiny", "ycbv")
    write_bop_csv(path, estimates())
    back = read_bop_csv(path)
    assert len(back) == 4
    for want, got in zip(estimates(), back, strict=True):
        assert got[:4] == want[:4]
        assert got.time == want.time
        assert torch.equal(got.R, want.R)
        assert torch.equal(got.t, want.t)
        assert torch.equal(got.cam_from_obj[:3, 3], want.t)
    assert [item.name for item in path.parent.iterdir()] == ["refkp-tiny_ycbv-test.csv"]  # nothing beside it


def test_the_text_is_as_the_format_says(tmp_path: Path) -> None:
    item = Estimate(1, 2, 3, 0.5, torch.eye(3, dtype=torch.float64), torch.tensor([0.0, 0, 700]), -1.0)
    write_bop_csv(tmp_path / "a.csv", [item])
    text = (tmp_path / "a.csv").read_text()
    assert text == f"{HEADER}\n1,2,3,0.5,1.0 0.0 0.0 0.0 1.0 0.0 0.0 0.0 1.0,0.0 0.0 700.0,-1.0\n"


def test_rows_of_one_picture_share_their_time(tmp_path: Path) -> None:
    first, second, *_ = estimates()
    with pytest.raises(ValueError, match="equal in all its rows"):
        write_bop_csv(tmp_path / "a.csv", [first, second._replace(time=0.5)])
    assert not (tmp_path / "a.csv").exists()


def test_a_pose_that_is_not_finite_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="estimate 0"):
        write_bop_csv(tmp_path / "a.csv", [estimates(1)[0]._replace(score=float("nan"))])


@pytest.mark.parametrize("method", ["my_method", "", "a b", "a/b"])
def test_names(method: str) -> None:
    with pytest.raises(ValueError, match="`method` must be"):
        bop_csv_name(method, "ycbv")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1,2,3", "line 3` must be 7 values"),
        (ROW.replace("1,2,3", "1,x,3"), "im_id of a.csv line 3"),
        (ROW.replace("1 0 0 0 1 0 0 0 1", "1 0 0 0 1 0 0 0"), "R of a.csv line 3` must be 9 finite numbers"),
        (ROW.replace("1 0 0 0 1 0 0 0 1", "1 0 0 0 1 0 0 0 9"), "must be a rotation"),
        (ROW.replace("1 0 0 0 1 0 0 0 1", "1 0 0 0 1 0 0 0 -1"), "must be a rotation"),
        (ROW.replace("0 0 700", "0 0 nan"), "t of a.csv line 3` must be 3 finite numbers"),
        (ROW.replace("0.5", "high"), "score of a.csv line 3"),
    ],
)
def test_errors_name_the_line(row: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"{HEADER}\n{ROW}\n{row}\n")
    with pytest.raises(ValueError, match=message):
        read_bop_csv(tmp_path / "a.csv")


def test_a_wrong_header_or_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(ROW)
    with pytest.raises(ValueError, match="whose first line is scene_id,im_id"):
        read_bop_csv(tmp_path / "a.csv")
    with pytest.raises(FileNotFoundError, match="no file"):
        read_bop_csv(tmp_path / "b.csv")


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "marked.csv").write_bytes(b"\xef\xbb\xbf" + f"{HEADER}\n{ROW}\n{ROW}\n".encode())
    assert [item.obj_id for item in read_bop_csv(tmp_path / "marked.csv")] == [3, 3]
