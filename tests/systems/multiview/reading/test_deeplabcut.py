"""Tables of DeepLabCut and Lightning Pose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("h5py", reason="needs the extra `multiview`")

from refkp.systems.multiview.reading.deeplabcut import is_table, read_table

PREDICTED = """scorer,net,net,net,net,net,net
bodyparts,nose,nose,nose,paw,paw,paw
coords,x,y,likelihood,x,y,likelihood
0,1.5,2.5,0.9,3,4,0.2
5,7,8,0.5,,,0.1
"""
LABELLED = """scorer,,,anna,anna,anna,anna
bodyparts,,,nose,nose,paw,paw
coords,,,x,y,x,y
labeled-data,walk,img0031.png,1,2,3,4
labeled-data,walk,img0012.png,,,5,6
"""
SEVERAL = """scorer,net,net,net,net
individuals,ada,ada,bob,bob
bodyparts,nose,nose,nose,nose
coords,x,y,x,y
2,1,2,3,4
"""


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_predictions(tmp_path: Path) -> None:
    read = read_table(written(tmp_path / "a.csv", PREDICTED))
    assert (read.joints, read.tracks) == (("nose", "paw"), ("",))
    assert read.labels.frames.tolist() == [0, 5]
    np.testing.assert_array_equal(
        read.labels.xy[:, 0], [[[2, 3], [3.5, 4.5]], [[7.5, 8.5], [np.nan, np.nan]]]
    )
    assert read.labels.score[0, 0].tolist() == [0.9, 0.2]
    assert not read.labels.by_user.any()


def test_labels_of_pictures(tmp_path: Path) -> None:
    read = read_table(written(tmp_path / "CollectedData_anna.csv", LABELLED))
    assert read.labels.frames.tolist() == [12, 31]
    np.testing.assert_array_equal(read.labels.xy[:, 0, 1], [[5.5, 6.5], [3.5, 4.5]])
    assert read.labels.by_user.all()


def test_several_animals(tmp_path: Path) -> None:
    read = read_table(written(tmp_path / "a.csv", SEVERAL))
    assert read.tracks == ("ada", "bob")
    np.testing.assert_array_equal(read.labels.xy[0, :, 0], [[1.5, 2.5], [3.5, 4.5]])


@pytest.mark.parametrize(("text", "labelled"), [(PREDICTED, False), (LABELLED, True), (SEVERAL, False)])
def test_hdf5_holds_the_same(text: str, labelled: bool, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas", reason="needs the extra `multiview`")
    pytest.importorskip("tables", reason="needs the extra `multiview`")
    path = written(tmp_path / "a.csv", text)
    header = list(range(sum(line.split(",")[0] in ("scorer", "individuals", "bodyparts", "coords")
                            for line in text.splitlines())))  # fmt: skip
    frame = pandas.read_csv(path, header=header, index_col=[0, 1, 2] if labelled else 0)
    frame.to_hdf(tmp_path / "a.h5", key="df_with_missing", mode="w")
    plain, from_hdf = read_table(path), read_table(tmp_path / "a.h5")
    assert (plain.joints, plain.tracks) == (from_hdf.joints, from_hdf.tracks)
    for one, other in zip(plain.labels, from_hdf.labels, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (PREDICTED.replace("coords", "places"), "with the header rows scorer, bodyparts, coords"),
        (PREDICTED + "6,1,2\n", "of rows with 7 cells; got 3 in data row 3"),
        (PREDICTED.replace("x,y,likelihood", "x,x,likelihood", 1), "with each column once; got nose x twice"),
        (PREDICTED.replace("2.5", "two"), "of numbers below its header"),
        (PREDICTED.replace("5,7", "0,7"), "of one row for each frame; got frame 0 twice"),
        (PREDICTED.replace("1.5,", ","), "of points with x and y; got nose with one of them in frame 0"),
        (PREDICTED.replace("5,7", "-5,7"), "a frame number or a picture with one in its name; got '-5'"),
        (PREDICTED.replace("5,7", "last,7"), "a frame number or a picture with one in its name; got 'last'"),
    ],
)
def test_a_broken_table_is_named(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        read_table(written(tmp_path / "a.csv", text))


def test_a_table_of_excel_is_the_same(tmp_path: Path) -> None:
    """With a byte order mark and the line ends of Windows."""
    path = tmp_path / "b.csv"
    path.write_bytes(b"\xef\xbb\xbf" + PREDICTED.replace("\n", "\r\n").encode())
    plain, marked = read_table(written(tmp_path / "a.csv", PREDICTED)), read_table(path)
    assert is_table(path)
    assert marked.joints == plain.joints
    for one, other in zip(plain.labels, marked.labels, strict=True):
        np.testing.assert_array_equal(one, other)


def test_other_tables_are_none(tmp_path: Path) -> None:
    assert is_table(written(tmp_path / "a.csv", PREDICTED))
    assert not is_table(written(tmp_path / "b.csv", "time,temperature\n0,21\n"))
