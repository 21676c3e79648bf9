"""Objects far from the origin of their frame: made into pictures, written, read and trained on as others are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("embreex", reason="needs the extra `pose`")
pytest.importorskip("cv2", reason="needs the extra `pose`")
pytest.importorskip("PIL", reason="needs the extra `viz`")
pytest.importorskip("trimesh", reason="needs the extra `pose`")

from refkp.data.meshes import Mesh
from refkp.data.shapes import make_object
from refkp.systems.pose.data.generator import generate_scenes
from refkp.systems.pose.data.models import ModelSet, info_entry
from refkp.systems.pose.data.records import check_scene, read_centres
from refkp.systems.pose.data.shards import ShardReader
from refkp.systems.pose.data.spec import GeneratorSpec
from refkp.systems.pose.data.template_cache import TemplateCache
from refkp.systems.pose.scene import Instance, PictureKey, Scene
from refkp.systems.pose.templates.rendering import render_templates
from refkp.systems.pose.templates.store import TemplateStore

OFFSET = np.array([-1300.0, 2100, 900])


def far_mesh(kind: str = "mug") -> Mesh:
    mesh = make_object(kind, seed=3)
    return replace(mesh, vertices=mesh.vertices + OFFSET)


def test_pictures_are_made_and_read_with_any_origin(tmp_path: Path) -> None:
    spec = GeneratorSpec(24, size=(60, 80), max_objects=2, max_occluders=0, scenes_per_shard=12, samples=1)
    reader = ShardReader(generate_scenes({1: far_mesh(), 2: make_object("box", 1)}, tmp_path / "out", spec))
    assert len(reader) == 24
    origins = [item.cam_from_obj[2, 3] for scene in reader for item in scene.instances if item.obj_id == 1]
    assert any(z < 0 for z in origins)
    models = ModelSet(tmp_path / "out")
    torch.testing.assert_close(models.centre(1), torch.from_numpy(OFFSET), rtol=0, atol=1e-5)
    path = tmp_path / "out/models/models_info.json"
    bare = {key: {"diameter": entry["diameter"]} for key, entry in json.loads(path.read_text()).items()}
    path.write_text(json.dumps(bare))  # then the mesh is asked
    assert read_centres(tmp_path / "out") == {}
    torch.testing.assert_close(ModelSet(tmp_path / "out").centre(1), models.centre(1), rtol=0, atol=1e-5)


def scene_of(mesh: Mesh, origin: bool = False) -> Scene:
    """A picture of 20 x 20 with a square object, 500 mm away, in its middle."""
    mask = torch.zeros(20, 20, dtype=torch.bool)
    mask[6:14, 6:14] = True
    pose = torch.eye(4, dtype=torch.float64)
    pose[2, 3] = 500
    if not origin:
        pose[:3, 3] -= torch.from_numpy(mesh.centre)
    instance = Instance(4, pose, mask, (6, 6, 14, 14), 1.0)
    K = torch.tensor([[40.0, 0, 10], [0, 40, 10], [0, 0, 1]], dtype=torch.float64)
    return Scene(PictureKey(0, 0), torch.zeros(3, 20, 20, dtype=torch.uint8), 500.0 * mask, K, (instance,))


def test_the_depth_is_held_against_the_object_not_against_its_origin() -> None:
    mesh = far_mesh()
    scene, centres = scene_of(mesh), {4: torch.from_numpy(mesh.centre)}
    assert float(scene.instances[0].cam_from_obj[2, 3]) < 0
    check_scene(scene, "here", centres)
    check_scene(scene, "here", {})  # the origin is seen elsewhere and tells nothing
    assert scene.depth is not None
    for factor in (0.001, 0.1, 10.0):
        with pytest.raises(
            ValueError, match=r"here, instance 0 \(obj_\d{6}\): the median depth .* millimetres, not metres"
        ):
            check_scene(scene._replace(depth=scene.depth * factor), "here", centres)
        with pytest.raises(ValueError, match="millimetres, not metres"):
            check_scene(scene_of(mesh, origin=True)._replace(depth=scene.depth * factor), "here", {})
    behind = scene.instances[0].cam_from_obj.clone()
    behind[2, 3] -= 2000
    turned = scene._replace(instances=(scene.instances[0]._replace(cam_from_obj=behind),))
    with pytest.raises(ValueError, match="is not in front of the camera"):
        check_scene(turned, "here", centres)


def test_vertices_without_faces_do_not_move_the_box() -> None:
    mesh = make_object("box", seed=2)
    stray = replace(
        mesh,
        vertices=np.concatenate((mesh.vertices, [[9e3, 9e3, -9e3]])),
        uv=None if mesh.uv is None else np.concatenate((mesh.uv, [[0.0, 0]])),
    )
    assert info_entry(stray) == info_entry(mesh)


def test_cached_templates_keep_their_depth(tmp_path: Path) -> None:
    render_templates(
        far_mesh("box"), 1, tmp_path, level=0, size=(60, 80), K=((70.0, 0, 40), (0, 70, 30), (0, 0, 1))
    )
    store = TemplateStore(tmp_path)
    number = torch.tensor([0, 17])
    kept, exact = TemplateCache(store, 32).views(1, number), store.views(1, number, 32)
    torch.testing.assert_close(kept.depth, exact.depth, rtol=0, atol=0.07)
    assert torch.equal(kept.depth > 0, exact.depth > 0)
