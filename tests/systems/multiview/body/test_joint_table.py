"""Labels find their joints by name or by a table, and what is not certain is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from refkp.systems.multiview.body.joint_table import joint_map, read_joint_table

JOINTS = ("hip", "knee", "foot", "tail")


def test_names_find_each_other_in_whatever_case() -> None:
    assert joint_map(JOINTS, ["Tail", "knee", "x", "HIP"]).tolist() == [3, 1, -1, 0]


def test_the_exact_name_goes_first_and_two_alike_are_none() -> None:
    assert joint_map(JOINTS, ["Hip", "hip", "Knee", "KNEE", "foot", "tail"]).tolist() == [1, -1, 4, 5]


def test_a_table_goes_before_names() -> None:
    table = {"hip": "tail", "foot": "x", "tail": "hip"}
    assert joint_map(JOINTS, ["hip", "knee", "x", "tail"], table).tolist() == [3, -1, 2, 0]


@pytest.mark.parametrize(
    ("labels", "table", "told"),
    [
        (
            ["hip", "knee", "x"],
            None,
            r"`labels` must be names of at least 3 joints.*got 2 of.*columns `model`",
        ),
        (["hip", "a", "b"], {"hip": "a", "leg": "b"}, "`table` must be of joints of the body.*got 'leg'"),
        (["hip", "a", "b"], {"hip": "a", "knee": "c"}, "`table` must be of labels of the recording.*got 'c'"),
        (["a", "b"], {"hip": "a", "knee": "b", "tail": "a"}, "of one joint for each label; got two for 'a'"),
        (["a", "b", "c"], {"hip": "a", "knee": "b"}, "at least 3 joints of the body; got 2"),
    ],
)
def test_what_does_not_match_is_told(labels: list[str], table: dict[str, str] | None, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        joint_map(JOINTS, labels, table)


def test_a_table_as_people_write_it(tmp_path: Path) -> None:
    path = tmp_path / "joints.csv"
    path.write_text("\ufeffdata, model ,note\nHip , hip,x\n,knee,\nx,,\n\ntail,tail\n", encoding="utf-8")
    assert read_joint_table(path) == {"hip": "Hip", "tail": "tail"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "with the columns model and data; got an empty file"),
        ("model,label\nhip,a\n", "with the columns model and data; got model, label"),
        ("model,data\nhip,a\nhip,b\n", "with each joint once; got 'hip' twice"),
    ],
)
def test_tables_that_are_none(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "joints.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"joints\.csv` must be {told}"):
        read_joint_table(path)
