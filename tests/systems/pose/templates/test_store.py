"""The store: what is written is read, units are known, damage is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("PIL", reason="needs the extra `pose`")

from PIL import Image

from refkp.systems.pose.templates.store import StoreFormat, TemplateStore, new_object, write_view

FORM = StoreFormat(K=((50.0, 0, 16), (0, 50.0, 12), (0, 0, 1)), size=(24, 32))


def pose(z: float = 500.0) -> torch.Tensor:
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[2, 3] = z
    return matrix


def add(
    root: Path, obj_id: int = 1, views: int = 2, form: StoreFormat = FORM, red: int = 200, mesh: str = "a"
) -> None:
    """An object that shows as a red rectangle, 8 x 10 pixels, in every view."""
    rgb, depth = np.zeros((24, 32, 3), np.uint8), np.zeros((24, 32), np.float32)
    rgb[6:14, 5:15, 0], depth[6:14, 5:15] = red, 512.34
    with new_object(
        root, obj_id, pose().repeat(views, 1, 1), digest=mesh, diameter=90.0, distance=500.0, form=form
    ) as folder:
        for number in range(views):
            write_view(folder, number, rgb, depth, form)


@pytest.fixture
def copy(small_store: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_store, tmp_path / "copy"))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    add(tmp_path, 3)
    store = TemplateStore(tmp_path)
    assert (store.obj_ids, store.num_views, store.diameter(3)) == ((3,), 2, 90.0)
    torch.testing.assert_close(store.poses(3), pose().repeat(2, 1, 1))
    views = store.views(3, [1, 0, 1], 20)
    assert views.images.shape == (3, 3, 20, 20)
    content = views.masks[0].nonzero()
    assert content.min(0).values.tolist() == [2, 0]
    assert content.max(0).values.tolist() == [17, 19]
    torch.testing.assert_close(views.images[0][:, 4:16, 4:16].mean((1, 2)), torch.tensor([200 / 255, 0, 0]))
    assert views.depth[0, 10, 10].item() == pytest.approx(512.3, abs=1e-3)  # in steps of 0.1 mm
    torch.testing.assert_close(
        views.K[0], torch.tensor([[100.0, 0, 2 * (16 - 5)], [0, 100, 2 * (12 - 6) + 2], [0, 0, 1]]).double()
    )


def test_the_layout_is_the_published_one(small_store: Path) -> None:
    assert (small_store / "000007" / "000041.png").is_file()
    with Image.open(small_store / "000007" / "000000_depth.png") as image:
        assert np.array(image).dtype == np.uint16
    assert np.load(small_store / "object_poses" / "000007.npy").shape == (42, 4, 4)
    distance = json.loads((small_store / "diameter.json").read_text())["7"]
    middle = TemplateStore(small_store).poses(7)
    pytest.importorskip("trimesh", reason="needs the extra `pose`")
    from refkp.data.shapes import make_object

    mesh = make_object("l_block", seed=7)
    assert distance == pytest.approx(2 * np.linalg.norm(mesh.extent))
    centres = middle[:, :3, :3] @ torch.from_numpy(mesh.centre) + middle[:, :3, 3]
    torch.testing.assert_close(centres, torch.tensor([[0.0, 0.0, distance]]).double().expand(42, 3))


@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_a_published_set_is_read_with_its_scale(copy: Path, scale: float) -> None:
    """Such a set has no store.json; depth and translations count in units of 1/scale mm."""
    ours = TemplateStore(copy).views(7, [5], 32)
    (copy / "store.json").unlink()
    file = copy / "object_poses" / "000007.npy"
    poses = np.load(file)
    poses[:, :3, 3] *= scale
    np.save(file, poses)
    depth = copy / "000007" / "000005_depth.png"
    steps = np.array(Image.open(depth)).astype(float) / 10 * scale
    Image.fromarray(np.rint(steps).astype(np.uint16)).save(depth)
    with pytest.raises(ValueError, match="10 for GSO and ShapeNet and 1 for BOP"):
        TemplateStore(copy)
    store = TemplateStore(copy, scale_factor=scale)
    assert store.scale_factor == scale
    theirs = store.views(7, [5], 32)
    torch.testing.assert_close(theirs.cam_from_obj, ours.cam_from_obj)
    torch.testing.assert_close(theirs.depth, ours.depth, rtol=0, atol=0.5 / scale + 1e-3)
    with pytest.raises(ValueError, match=r"models_info\.json"):
        store.diameter(7)


def test_crops_agree_with_the_mesh(small_store: Path) -> None:
    pytest.importorskip("embreex", reason="needs the extra `pose`")
    pytest.importorskip("trimesh", reason="needs the extra `pose`")
    from refkp.data.rendering import MeshRenderer
    from refkp.data.shapes import make_object

    renderer = MeshRenderer([make_object("l_block", seed=7)])
    views = TemplateStore(small_store).views(7, range(0, 42, 8), 64)
    for number in range(len(views.images)):
        view = views.select(number)
        depth = torch.from_numpy(renderer.render_depth(view.cam_from_obj[None], view.K, (64, 64)))
        both, either = view.masks & (depth > 0), view.masks | (depth > 0)
        assert both.sum() > 0.93 * either.sum()
        assert (view.depth - depth)[both].abs().median() < 1.5


def test_an_object_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    add(tmp_path, red=100)
    three, options = pose().repeat(3, 1, 1), {"digest": "a", "diameter": 1.0, "distance": 1.0, "form": FORM}
    with (
        pytest.raises(ValueError, match="3 written; got 6 files missing"),
        new_object(tmp_path, 1, three, **options),  # type: ignore[arg-type]
    ):
        pass
    with (
        pytest.raises(RuntimeError, match="stop"),
        new_object(tmp_path, 2, three, **options),  # type: ignore[arg-type]
    ):
        raise RuntimeError("stop")
    store = TemplateStore(tmp_path)
    assert store.obj_ids == (1,)
    assert store.views(1, [0], 8).images.max() == pytest.approx(100 / 255)
    add(tmp_path, views=3, red=250)
    assert TemplateStore(tmp_path).num_views == 3
    assert TemplateStore(tmp_path).views(1, [0], 8).images.max() == pytest.approx(250 / 255)
    assert not [path for path in tmp_path.rglob(".*")]


def test_another_mesh_never_replaces_an_object(tmp_path: Path) -> None:
    add(tmp_path, 4, red=100, mesh="one")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(
        ValueError, match=r"`obj_id` must be a new one, or that of the same mesh; got 4, which"
    ):
        add(tmp_path, 4, red=250, mesh="other")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    add(tmp_path, 4, red=120, mesh="one")
    add(tmp_path, 5, mesh="other")
    with pytest.raises(ValueError, match=r"Choose another --obj_id or --out, or remove .*000005"):
        add(tmp_path, 5, mesh="one")
    shutil.rmtree(tmp_path / "000005")
    add(tmp_path, 5, mesh="one")
    assert TemplateStore(tmp_path).obj_ids == (4, 5)


def test_an_object_of_a_mesh_that_the_store_does_not_tell_is_kept(copy: Path) -> None:
    (copy / "store.json").unlink()  # as published sets are
    with pytest.raises(ValueError, match="another mesh in"):
        add(copy, 7)


def test_objects_of_a_store_share_one_format(tmp_path: Path) -> None:
    add(tmp_path)
    with pytest.raises(ValueError, match="a folder of its own"):
        add(tmp_path, 2, form=StoreFormat(depth_steps_per_mm=1.0))
    with pytest.raises(ValueError, match="`scale_factor` must be 1"):
        TemplateStore(tmp_path, scale_factor=10.0)
    add(tmp_path, 2, views=3)
    with pytest.raises(ValueError, match=r"one number of views; got numbers \[2, 3\]"):
        _ = TemplateStore(tmp_path).num_views


def test_depth_must_fit_into_16_bits(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fewer steps per mm"):
        write_view(tmp_path, 0, np.zeros((2, 2, 3), np.uint8), np.full((2, 2), 7000, np.float32), FORM)


def test_missing_and_damaged_files_are_named(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="render-templates"):
        TemplateStore(tmp_path / "nowhere")
    store = TemplateStore(copy)
    with pytest.raises(ValueError, match=r"000009\.npy"):
        store.poses(9)
    with pytest.raises(ValueError, match=r"0\.\.41; got \[42\]"):
        store.views(7, [0, 42], 8)
    pictures = copy / "000007"
    (pictures / "000001.png").unlink()
    (pictures / "000002.png").write_bytes((pictures / "000003.png").read_bytes()[:200])
    (pictures / "000004_depth.png").write_bytes(b"no picture")
    Image.fromarray(np.zeros((120, 160, 4), np.uint8)).save(pictures / "000005.png")
    Image.fromarray(np.zeros((120, 160, 3), np.uint8)).save(pictures / "000006.png")
    Image.fromarray(np.zeros((12, 16), np.uint16)).save(pictures / "000007_depth.png")
    Image.fromarray(np.zeros((120, 160, 3), np.uint8)).save(pictures / "000008_depth.png")
    wrong = {1: "000001.png", 2: "000002.png", 4: "000004_depth", 5: "000005.png.*empty", 6: "000006.*alpha"}
    wrong |= {7: "000007_depth", 8: "000008_depth.*one channel"}
    for number, message in wrong.items():
        with pytest.raises(ValueError, match=message):
            store.views(7, [number], 8)
    (copy / "object_poses" / "000007.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(ValueError, match=r"000007\.npy.*Render"):
        TemplateStore(copy).poses(7)
    (copy / "store.json").write_text("{")
    with pytest.raises(ValueError, match=r"store\.json"):
        TemplateStore(copy)
    (copy / "store.json").write_text("{}")
    with pytest.raises(ValueError, match=r"tells its units.*store\.json"):
        TemplateStore(copy)
