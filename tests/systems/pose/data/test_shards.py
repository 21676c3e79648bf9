"""Shards: what is written is read, broken ones are named, wrong units are found."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("cv2", reason="needs the extra `pose`")
pytest.importorskip("rich", reason="needs the extra `train`")
pytest.importorskip("PIL", reason="needs the extra `viz`")
pytest.importorskip("embreex", reason="needs the extra `pose`")
pytest.importorskip("trimesh", reason="needs the extra `pose`")

from refkp.systems.pose.data.shard_index import load_index
from refkp.systems.pose.data.shard_writer import ShardWriter
from refkp.systems.pose.data.shards import ShardReader
from refkp.systems.pose.scene import PictureKey
from tests.systems.pose.data.scenes import assert_same_scene, make_scene


def write(folder: Path, *, compressed: bool = False) -> ShardWriter:
    """Two shards of two pictures."""
    writer = ShardWriter(folder, image_format="png", compressed_masks=compressed)
    for number in range(2):
        writer.write(number, [make_scene(2 * number), make_scene(2 * number + 1)])
    writer.write_key_table()
    return writer


def rewrite(shard: Path, suffix: str, change: Callable[[Any], Any] | bytes | None) -> None:
    """Change the JSON of one member of each sample, replace its bytes, or drop it (None)."""
    source = shard.with_suffix(".old")
    shard.rename(source)
    with tarfile.open(source) as old, tarfile.open(shard, "w") as new:
        for member in old:
            file = old.extractfile(member)
            assert file is not None
            data = file.read()
            if member.name.endswith(f".{suffix}"):
                if change is None:
                    continue
                data = change if isinstance(change, bytes) else json.dumps(change(json.loads(data))).encode()
            member.size = len(data)
            with (shard.parent / "member").open("w+b") as content:
                content.write(data)
                content.seek(0)
                new.addfile(member, content)


@pytest.mark.parametrize("compressed", [False, True])
def test_round_trip_in_any_order(tmp_path: Path, compressed: bool) -> None:
    write(tmp_path, compressed=compressed)
    reader = ShardReader(tmp_path)
    assert reader.keys == [PictureKey(index, 0) for index in range(4)]
    for index in (3, 0, 2, 1):
        want = make_scene(index)
        assert_same_scene(reader[index], want)
        told = [(instance.obj_id, instance.visible_fraction) for instance in want.instances]
        assert [tuple(annotation) for annotation in reader.annotations(index)] == told
    assert json.loads((tmp_path / "key_to_shard.json").read_text())["000003_000000"] == 1


def test_the_index_is_kept_while_the_shard_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path).path(0)
    scans: list[Path] = []
    module = "refkp.systems.pose.data.shard_index"
    monkeypatch.setattr(f"{module}.scan_shard", lambda shard: scans.append(shard) or ())
    assert len(load_index(path)) == 2
    assert not scans
    os.utime(path, (1, 1))
    assert load_index(path) == ()
    assert scans == [path]


def test_the_index_can_lie_elsewhere(tmp_path: Path) -> None:
    """One folder for the shards of two sets, which have the same names."""
    for name in ("a", "b"):
        writer = write(tmp_path / name)
        writer.write(1, [make_scene(ord(name))])
        (tmp_path / name / "key_to_shard.json").unlink()
        for index in (tmp_path / name).glob("*.json"):
            index.unlink()
    for _ in range(2):
        for name in ("a", "b"):
            reader = ShardReader(tmp_path / name, index_folder=tmp_path / "index")
            assert reader.keys[-1] == PictureKey(ord(name), 0)
    assert len(list((tmp_path / "index").rglob("*.json"))) == 4
    assert not list((tmp_path / "a").glob("*.json"))


def test_an_index_that_cannot_be_written_names_the_remedy(tmp_path: Path) -> None:
    write(tmp_path / "shards")
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Name a folder that can be written with `index_folder`"):
        ShardReader(tmp_path / "shards", index_folder=tmp_path / "file")


def test_depth_is_read_in_the_unit_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path).path(0)
    before = ShardReader(tmp_path)[0].depth
    rewrite(path, "camera.json", lambda camera: camera | {"depth_scale": 0.05})
    after = ShardReader(tmp_path)[0].depth
    assert before is not None
    assert after is not None
    torch.testing.assert_close(after, before / 2)


@pytest.mark.parametrize("cut", [400, 10240 - 512, 11000])
def test_a_truncated_shard_raises_or_is_counted(tmp_path: Path, cut: int) -> None:
    path = write(tmp_path).path(0)
    os.truncate(path, path.stat().st_size - cut)
    with pytest.raises(ValueError, match=r"shard-000000.tar: (truncated|broken|member)"):
        ShardReader(tmp_path)
    with pytest.warns(UserWarning, match="1 of 2 shards left out"):
        reader = ShardReader(tmp_path, on_broken="skip")
    assert [broken.path for broken in reader.broken] == [path]
    assert reader.keys == [PictureKey(2, 0), PictureKey(3, 0)]
    assert_same_scene(reader[1], make_scene(3))


def test_a_shard_without_some_of_its_keys_is_broken(tmp_path: Path) -> None:
    writer = write(tmp_path)
    writer.write(0, [make_scene(0)])
    with pytest.raises(ValueError, match=r"1 samples of key_to_shard.json are missing, as 000001_000000"):
        ShardReader(tmp_path)


def test_shards_that_were_not_fetched_are_not_missed(tmp_path: Path) -> None:
    write(tmp_path).path(0).unlink()
    assert ShardReader(tmp_path).keys == [PictureKey(2, 0), PictureKey(3, 0)]


BAD_MEMBERS: list[tuple[str, Any, str]] = [
    ("mask_visib.json", None, r"shard-000000.tar: member 000000_000000.mask_visib.json is missing"),
    ("gt.json", b"{", r"shard-000000.tar: member 000000_000000.gt.json is not JSON"),
    ("gt_info.json", lambda info: info[:1], "2 poses but 1 visibilities"),
    ("rgb.png", b"no picture", r"member 000000_000000.rgb.png cannot be decoded"),
    ("depth.png", b"", r"member 000000_000000.depth.png cannot be decoded"),
    ("camera.json", lambda camera: {"cam_K": camera["cam_K"]}, "`depth_scale` is missing, so the unit"),
    ("camera.json", lambda camera: camera | {"depth_scale": 1.0}, "depth times `depth_scale`"),
    ("camera.json", lambda camera: camera | {"depth_scale": float("nan")}, "`depth_scale` must be a finite number"),
    ("camera.json", lambda camera: camera | {"cam_K": [30, 0, 64, 0, 30, 48, 0, 0, 1]}, "about 128 x 96"),
    ("camera.json", lambda camera: camera | {"cam_K": [30, 1, 16, 0, 30, 12, 0, 0, 1]}, "without skew"),
    ("gt.json", lambda gt: [pose | {"cam_t_m2c": [0, 0, 0.5]} for pose in gt], "millimetres, not metres"),
    ("gt.json", lambda gt: [pose | {"cam_R_m2c": [1.0] * 9} for pose in gt], "is no rotation"),
    ("gt.json", lambda gt: [pose | {"cam_t_m2c": [0, 0, -500]} for pose in gt], "not in front of the camera"),
    ("mask_visib.json", lambda masks: {}, "instance 0: the mask is empty, but `visib_fract` is 0.8"),
    ("mask_visib.json", lambda masks: {key: {"counts": [0, 6], "size": [2, 3]} for key in masks}, "differ in size"),
    ("mask_visib.json", lambda masks: {"0": {"counts": [5], "size": [2, 3]}}, "000000.mask_visib.json, instance 0"),
]  # fmt: skip


@pytest.mark.parametrize(("suffix", "change", "message"), BAD_MEMBERS)
def test_bad_members_are_named(tmp_path: Path, suffix: str, change: Any, message: str) -> None:
    rewrite(write(tmp_path).path(0), suffix, change)
    with pytest.raises(ValueError, match=message):
        ShardReader(tmp_path)[0]


def test_rotations_that_are_not_exact_are_counted(tmp_path: Path) -> None:
    loose = [1.003, 0, 0, 0, 0.997, 0.002, 0, 0, 1.0]
    rewrite(write(tmp_path).path(0), "gt.json", lambda gt: [gt[0] | {"cam_R_m2c": loose}, *gt[1:]])
    for _ in range(2):  # the second time from the index
        with pytest.warns(UserWarning, match=r"2 of 8 rotations are orthonormal to no better than 0\.001"):
            reader = ShardReader(tmp_path)
    assert reader[0].instances[0].cam_from_obj[:3, :3].flatten().tolist() == loose


def test_the_writer_refuses_what_no_reader_could_tell(tmp_path: Path) -> None:
    scene, writer = make_scene(), ShardWriter(tmp_path)
    assert scene.depth is not None
    for depth, message in [
        (
            scene.depth.masked_fill(scene.instances[0].mask, float("nan")),
            "depth is NaN, infinite or negative",
        ),
        (scene.depth / 1000, "not metres"),
        (scene.depth.masked_fill(scene.depth == 0, 1e5), "at most 6553.5 mm"),
        (None, "scenes with depth"),
    ]:
        with pytest.raises(ValueError, match=message):
            writer.write(0, [scene._replace(depth=depth)])
    assert not list(tmp_path.iterdir())


def test_equal_scenes_give_equal_bytes(tmp_path: Path) -> None:
    a, b = (write(tmp_path / name).path(1).read_bytes() for name in "ab")
    assert a == b


def test_an_empty_folder_raises(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`folder` must be a folder with shard-\*.tar"):
        ShardReader(tmp_path)
