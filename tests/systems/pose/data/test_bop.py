"""Folders of the BOP challenge."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("cv2", reason="needs the extra `pose`")
pytest.importorskip("PIL", reason="needs the extra `viz`")
pytest.importorskip("embreex", reason="needs the extra `pose`")
pytest.importorskip("trimesh", reason="needs the extra `pose`")

from PIL import Image

from refkp.systems.pose.data.bop import BopReader, Target, read_targets
from refkp.systems.pose.scene import PictureKey
from tests.systems.pose.data.bop_folder import mask_picture, write_scene
from tests.systems.pose.data.scenes import assert_same_scene, make_scene


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Scenes 0 and 1 with one picture each, as a data set of the challenge."""
    for index in range(2):
        write_scene(tmp_path / "test" / f"{index:06d}", make_scene(index))
    return tmp_path


def test_pictures_come_as_they_were_written(root: Path) -> None:
    reader = BopReader(root, "test")
    assert reader.keys == [PictureKey(0, 0), PictureKey(1, 0)]
    for index in range(2):
        assert_same_scene(reader[index], make_scene(index))
    assert [annotation.obj_id for annotation in reader.annotations(1)] == [7, 7]


def test_a_split_of_scene_folders_is_read_as_such(root: Path) -> None:
    pytest.importorskip("lightning", reason="needs the extra `train`")
    pytest.importorskip("rich", reason="needs the extra `train`")
    from refkp.systems.pose.data.datamodule import open_source

    assert isinstance(open_source(root, "test"), BopReader)


def test_targets_choose_the_pictures(root: Path) -> None:
    path = root / "test_targets_bop19.json"
    path.write_text(json.dumps([{"scene_id": 1, "im_id": 0, "obj_id": 7, "inst_count": 2}]))
    targets = read_targets(path)
    assert targets == (Target(PictureKey(1, 0), 7, 2),)
    assert BopReader(root, "test", targets=targets).keys == [PictureKey(1, 0)]


def test_without_ground_truth_or_depth(root: Path) -> None:
    for name in ("gt", "gt_info"):
        (root / f"test/000001/scene_{name}.json").unlink()
    with pytest.raises(
        ValueError, match=r"scene_gt.json is missing. Fetch it, or read with `ground_truth` False"
    ):
        BopReader(root, "test")
    (root / "test/000001/depth/000000.png").unlink()
    scene = BopReader(root, "test", ground_truth=False)[1]
    assert scene.instances == ()
    assert scene.depth is None


def test_a_grey_picture_becomes_three_channels(root: Path) -> None:
    folder = root / "test/000000"
    (folder / "rgb/000000.png").unlink()
    with pytest.raises(
        ValueError, match=r"picture 0 of .*000000 is missing; looked for rgb/000000 and gray/000000 with .png"
    ):
        BopReader(root, "test")[0]
    (folder / "gray").mkdir()
    (folder / "gray/000000.png").write_bytes(mask_picture(make_scene().instances[0].mask))
    rgb = BopReader(root, "test")[0].rgb
    assert (rgb[0] == rgb[1]).all()
    assert (rgb[0] == rgb[2]).all()


def test_missing_parts_are_named(root: Path) -> None:
    (root / "test/000000/mask_visib/000000_000001.png").unlink()
    with pytest.raises(ValueError, match=r"000000_000001.png is missing"):
        BopReader(root, "test")[0]
    with pytest.raises(ValueError, match="pictures in folders 000000"):
        BopReader(root, "train")


def change(path: Path, name: str, value: object) -> None:
    """Set an entry of every instance of a picture's table."""
    table = json.loads(path.read_text())
    for entry in table["0"]:
        entry[name] = value
    path.write_text(json.dumps(table))


def test_targets_since_2024_name_pictures_alone(root: Path) -> None:
    path = root / "test_targets_bop24.json"
    path.write_text(json.dumps([{"im_id": 0, "scene_id": 0}]))
    targets = read_targets(path)
    assert targets == (Target(PictureKey(0, 0), None, None),)
    assert BopReader(root, "test", targets=targets).keys == [PictureKey(0, 0)]
    for broken in ({"im_id": 0}, {"im_id": 0, "scene_id": 0, "obj_id": 3}, 7):
        path.write_text(json.dumps([broken]))
        with pytest.raises(ValueError, match="entry 0` must be a target with scene_id and im_id"):
            read_targets(path)


def test_every_picture_may_be_a_tiff(root: Path) -> None:
    folder = root / "test/000000"
    for path in [*folder.rglob("*.png")]:
        Image.open(path).save(path.with_suffix(".tif" if path.parent.name != "rgb" else ".tiff"))
        path.unlink()
    assert_same_scene(BopReader(root, "test")[0], make_scene(0))


def test_a_visibility_of_null_is_that_of_the_counts(root: Path) -> None:
    path = root / "test/000000/scene_gt_info.json"
    change(path, "visib_fract", None)
    with pytest.raises(ValueError, match="`visib_fract` is null, and `px_count_visib` of `px_count_all`"):
        BopReader(root, "test")[0]
    change(path, "px_count_visib", 30)
    change(path, "px_count_all", 120)
    assert BopReader(root, "test").annotations(0)[1].visible_fraction == 0.25
    change(path, "px_count_visib", 0)
    change(path, "px_count_all", 0)
    assert BopReader(root, "test").annotations(0)[0].visible_fraction == 0


def test_rotations_that_are_not_exact_are_counted_and_kept(root: Path) -> None:
    path = root / "test/000001/scene_gt.json"
    table = json.loads(path.read_text())
    numbers = table["0"][1]["cam_R_m2c"]
    numbers[0] += 0.004 if numbers[0] < 0 else -0.004
    path.write_text(json.dumps(table))
    with pytest.warns(UserWarning, match=r"1 of 4 rotations are orthonormal to no better than 0\.001"):
        reader = BopReader(root, "test")
    assert reader[1].instances[1].cam_from_obj[:3, :3].flatten().tolist() == numbers
    numbers[0] += 0.1
    path.write_text(json.dumps(table))
    with pytest.raises(ValueError, match="`cam_R_m2c` is no rotation"):
        BopReader(root, "test")[1]


def test_a_camera_of_another_size_is_an_error(root: Path) -> None:
    path = root / "test/000000/scene_camera.json"
    table = json.loads(path.read_text())
    table["0"]["cam_K"] = [60.0, 0, 32, 0, 60, 24, 0, 0, 1]
    path.write_text(json.dumps(table))
    with pytest.raises(ValueError, match=r"picture 0` must be of a picture of 32 x 24.* about 64 x 48"):
        BopReader(root, "test")[0]
    assert BopReader(root, "test")[1].K[0, 2] == 16.2
