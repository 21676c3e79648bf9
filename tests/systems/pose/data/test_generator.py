"""Made-up pictures: true labels, the same for any number of processes, whole or not there."""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

pytest.importorskip("embreex", reason="needs the extra `pose`")
pytest.importorskip("rich", reason="needs the extra `train`")
pytest.importorskip("PIL", reason="needs the extra `viz`")
pytest.importorskip("cv2", reason="needs the extra `pose`")
pytest.importorskip("trimesh", reason="needs the extra `pose`")

import numpy as np
from PIL import Image

from refkp.data.meshes import Mesh
from refkp.data.rendering import MeshRenderer
from refkp.data.shapes import make_object
from refkp.geometry import icosphere
from refkp.systems.pose.commands.generate import generate
from refkp.systems.pose.data import generator
from refkp.systems.pose.data.composition import Ball, compose
from refkp.systems.pose.data.generator import generate_scenes
from refkp.systems.pose.data.models import ModelSet
from refkp.systems.pose.data.shards import ShardReader
from refkp.systems.pose.data.spec import GeneratorSpec
from refkp.systems.pose.templates.store import TemplateStore, camera_of_size

SPEC = GeneratorSpec(5, size=(48, 64), scenes_per_shard=2, samples=1)


@functools.cache
def models() -> dict[int, Mesh]:
    return {3: make_object("box", seed=1), 8: make_object("blob", seed=2)}


def shard_bytes(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((out / "shards").glob("*.tar"))}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("generated") / "out"
    generate_scenes(models(), out, SPEC, seed=4)
    return out


def test_labels_are_those_of_the_pictures(made: Path) -> None:
    """Each mesh as written, rendered alone at the pose as read, in a picture four times as wide and high."""
    reader, meshes = ShardReader(made / "shards"), ModelSet(made)
    assert len(reader) == 5
    height, width = SPEC.size
    large = torch.tensor([[0, 0, 1.5 * width], [0, 0, 1.5 * height], [0, 0, 0]])
    for index in range(len(reader)):
        scene = reader[index]
        assert scene.depth is not None
        assert torch.equal(scene.K, torch.from_numpy(SPEC.K))
        for instance in scene.instances:
            renderer, pose = MeshRenderer([meshes.mesh(instance.obj_id)]), instance.cam_from_obj[None]
            want = torch.from_numpy(renderer.render_depth(pose, scene.K, SPEC.size))
            torch.testing.assert_close(scene.depth[instance.mask], want[instance.mask], rtol=0, atol=0.06)
            around = (
                torch.from_numpy(renderer.render_depth(pose, scene.K + large, (4 * height, 4 * width))) > 0
            )
            part = float(instance.mask.sum() / around.sum())
            assert instance.visible_fraction == pytest.approx(part, abs=0.02)
            assert instance.full_box is not None
            x0, y0, x1, y1 = (int(v) + int(c) for v, c in zip(instance.full_box, (96, 72) * 2, strict=True))
            assert bool(around[y0:y1, x0:x1].any(0).all())
            assert int(around.sum()) == int(around[y0:y1, x0:x1].sum())


def test_models_are_written_beside_the_pictures(made: Path) -> None:
    found = ModelSet(made)
    assert found.obj_ids == (3, 8)
    for obj_id, mesh in models().items():
        np.testing.assert_allclose(found.mesh(obj_id).extent, mesh.extent, rtol=1e-6)
        assert found.mesh(obj_id).has_colour
        assert found.info(obj_id).diameter == pytest.approx(mesh.diameter)
        assert found.info(obj_id).symmetries_discrete.shape == (0, 4, 4)


@pytest.mark.slow
def test_the_number_of_processes_changes_nothing(made: Path, tmp_path: Path) -> None:
    generate_scenes(models(), tmp_path / "out", SPEC, seed=4, workers=2)
    assert shard_bytes(tmp_path / "out") == shard_bytes(made)


def test_the_number_of_pictures_changes_none_of_them(made: Path, tmp_path: Path) -> None:
    generate_scenes(models(), tmp_path / "out", replace(SPEC, num_scenes=2), seed=4)
    assert shard_bytes(tmp_path / "out")["shard-000000.tar"] == shard_bytes(made)["shard-000000.tar"]
    generate_scenes(models(), tmp_path / "other", replace(SPEC, num_scenes=2), seed=5)
    assert shard_bytes(tmp_path / "other")["shard-000000.tar"] != shard_bytes(made)["shard-000000.tar"]


def test_an_interrupted_run_leaves_whole_shards_and_goes_on(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, render, rendered = tmp_path / "out", generator.render_scene, []

    def interrupt(studio: object, spec: object, seed: int, number: int) -> object:
        if number == 3:
            raise KeyboardInterrupt
        rendered.append(number)
        return render(studio, spec, seed, number)  # type: ignore[arg-type]

    monkeypatch.setattr(generator, "render_scene", interrupt)
    with pytest.raises(KeyboardInterrupt):
        generate_scenes(models(), out, SPEC, seed=4)
    assert [path.name for path in (out / "shards").glob("*.tar")] == ["shard-000000.tar"]
    assert not list((out / "shards").glob(".*"))
    monkeypatch.setattr(
        generator, "render_scene", lambda *arguments: rendered.append(arguments[3]) or render(*arguments)
    )
    generate_scenes(models(), out, SPEC, seed=4)
    assert rendered == [0, 1, 2, 2, 3, 4]
    assert shard_bytes(out) == shard_bytes(made)


def test_another_request_for_the_same_folder_raises(made: Path, tmp_path: Path) -> None:
    for spec, seed, differs in [(replace(SPEC, noise=0.1), 4, "spec"), (SPEC, 5, "seed")]:
        with pytest.raises(ValueError, match=f"which differs in {differs}"):
            generate_scenes(models(), made, spec, seed=seed)
    with pytest.raises(ValueError, match="which differs in models"):
        generate_scenes({3: models()[3]}, made, SPEC, seed=4)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="It holds other files"):
        generate_scenes(models(), tmp_path, SPEC)


def test_directions_are_even_and_turns_within_their_limit() -> None:
    spec, balls = (
        replace(SPEC, max_inplane_deg=20.0, max_occluders=0),
        [Ball(100.0, np.array([3.0, 4.0, 5.0]))],
    )
    drawn = [compose(np.random.default_rng(number), spec, balls, []) for number in range(1000)]
    poses = torch.from_numpy(np.concatenate([composition.cam_from_obj for composition in drawn]))
    directions = -poses[:, 2, :3]
    torch.testing.assert_close(directions.mean(0), torch.zeros(3).double(), rtol=0, atol=0.06)
    torch.testing.assert_close(
        directions.T @ directions / len(poses), torch.eye(3).double() / 3, rtol=0, atol=0.04
    )
    turns = poses[:, :3, :3] @ icosphere.cam_from_obj(directions)[:, :3, :3].mT
    angles = torch.rad2deg(torch.atan2(turns[:, 1, 0], turns[:, 0, 0]))
    assert 18 < float(angles.abs().max()) <= 20
    first = torch.from_numpy(np.stack([composition.cam_from_obj[0] for composition in drawn]))
    centres = first[:, :3, :3] @ torch.tensor([3.0, 4, 5]).double() + first[:, :3, 3]
    assert 200 <= float(centres[:, 2].min()) < 210
    assert 490 < float(centres[:, 2].max()) <= 500


def test_objects_do_not_meet() -> None:
    balls = [Ball(80.0, np.zeros(3)), Ball(150.0, np.zeros(3))]
    spec, several = replace(SPEC, max_objects=4, max_occluders=2), 0
    for number in range(100):
        composition = compose(np.random.default_rng(number), spec, balls, balls)
        centres, radii = (
            composition.cam_from_obj[:, :3, 3],
            [balls[which % 2].diameter / 2 for which in composition.which],
        )
        several += len(radii) > 2
        assert all(which < 2 for which in composition.which[: composition.num_objects])
        for a in range(len(radii)):
            for b in range(a):
                assert np.linalg.norm(centres[a] - centres[b]) > radii[a] + radii[b]
    assert several > 50


def test_occluders_hide_objects() -> None:
    """Over some pictures, objects of scenes with occluders are less visible than the same without."""
    shapes = models()
    visible = {}
    for count in (0, 2):
        spec = replace(SPEC, max_objects=1, max_occluders=count)
        studio = generator.Studio(
            (3,), (Ball.of(shapes[3]),), (Ball.of(shapes[8]),) if count else (), (shapes[3].vertices,),
            MeshRenderer([shapes[3], shapes[8]]), (MeshRenderer([shapes[3]]),),
        )  # fmt: skip
        scenes = [generator.render_scene(studio, spec, 0, number) for number in range(20)]
        visible[count] = [scene.instances[0].visible_fraction for scene in scenes]
    assert min(visible[0]) > 0.95
    assert sum(part < 0.9 for part in visible[2]) >= 3


def test_the_command_writes_a_whole_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    size = ["--size", "[48,64]", "--samples", "1"]
    assert generate(["--out", str(tmp_path / "set"), "--scenes", "2", "--objects", "2", *size]) == 0
    assert "2 pictures of 2 objects" in capsys.readouterr().out
    assert len(ShardReader(tmp_path / "set" / "shards")) == 2
    assert json.loads((tmp_path / "set/models/models_info.json").read_text()).keys() == {"1", "2"}
    with pytest.raises(ValueError, match="Files do not tell their unit"):
        generate(["--out", str(tmp_path / "b"), "--scenes", "2", "--meshes", "a.obj"])
    with pytest.raises(ValueError, match="at least one object"):
        generate(["--out", str(tmp_path / "b"), "--scenes", "2"])


def test_no_made_up_object_is_of_two_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Pictures of one seed hold nothing that was trained on with another; the same seed gives the same again."""
    size = ["--size", "[16,24]", "--samples", "1", "--scenes", "1", "--objects", "2", "--max_occluders", "0"]
    digests = {}
    for name, seed in (("a", 0), ("b", 9), ("again", 9)):
        assert generate(["--out", str(tmp_path / name), "--seed", str(seed), *size]) == 0
        digests[name] = generator.object_digests(tmp_path / name)
        said = capsys.readouterr().out
        assert all(f"object {obj_id}: {digest[:12]}" in said for obj_id, digest in digests[name].items())
    assert digests["b"] == digests["again"]
    assert len({*digests["a"].values(), *digests["b"].values()}) == 4


def test_templates_have_the_level_and_the_size_asked_for(tmp_path: Path) -> None:
    size = ["--size", "[16,24]", "--samples", "1", "--scenes", "1", "--objects", "1", "--max_occluders", "0"]
    templates = ["--templates_level", "0", "--templates_size", "[60,100]"]
    assert generate(["--out", str(tmp_path), *size, *templates]) == 0
    store = TemplateStore(tmp_path / "templates")
    assert len(store.poses(1)) == 42
    assert torch.allclose(store.K, torch.tensor(camera_of_size((60, 100)), dtype=store.K.dtype))
    with Image.open(tmp_path / "templates" / "000001" / "000000.png") as picture:
        assert picture.size == (100, 60)
        columns = np.flatnonzero(np.asarray(picture)[..., 3].any(0))
    assert abs(columns.mean() - 49.5) < 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_scenes": 0}, "`num_scenes` must be at least 1"),
        ({"distance": (0.5, 2)}, "1 <= nearest <= farthest"),
        ({"hfov_deg": 180.0}, "inside"),
        ({"size": (8, 64)}, "at least 16 pixels"),
        ({"image_format": "bmp"}, "one of 'jpg', 'png'"),
        ({"noise": -1.0}, "not negative"),
    ],
)
def test_specs_are_checked(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SPEC, **change)
