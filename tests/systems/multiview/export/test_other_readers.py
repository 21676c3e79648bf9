"""What is written loads in readers that know nothing of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cv2", reason="needs the extra `multiview`")
pytest.importorskip("embreex", reason="needs the extra `pose`")
pytest.importorskip("PIL", reason="needs the extra `viz`")
pytest.importorskip("trimesh", reason="needs the extra `pose`")

import trimesh

from refkp.data.meshes import load_mesh
from refkp.systems.multiview.export import export
from tests.systems.multiview.export.clips import bodies, moving, posed, size_of
from tests.systems.multiview.export.gltf_player import Player


def test_gltf_shows_the_animal_at_rest(tmp_path: Path) -> None:
    clip = moving(bodies()["quadruped"])
    (path,) = export(tmp_path, clip, formats=("gltf",))
    player = Player(path)
    rest = player.accessor(player.primitive["attributes"]["POSITION"])
    (geometry,) = trimesh.load(path, process=False).geometry.values()
    mesh = load_mesh(path, unit="mm", check_extent=False)
    for vertices, faces in ((geometry.vertices, geometry.faces), (mesh.vertices, mesh.faces)):
        np.testing.assert_allclose(vertices, rest, rtol=1e-7)
        np.testing.assert_array_equal(faces, clip.body.faces.numpy())


def test_obj_is_the_frame(tmp_path: Path) -> None:
    clip = moving(bodies()["quadruped"])
    (path,) = export(tmp_path, clip, formats=("obj",))
    want, scene = posed(clip).vertices[0].numpy(), trimesh.load(path, process=False)
    mesh = load_mesh(path, unit="mm", check_extent=False)
    for vertices, faces in ((scene.vertices, scene.faces), (mesh.vertices, mesh.faces)):
        np.testing.assert_allclose(vertices, want, rtol=0, atol=1e-6 * size_of(clip))
        np.testing.assert_array_equal(faces, clip.body.faces.numpy())
    assert (mesh.vertices.dtype, mesh.faces.dtype) == (np.float64, np.int64)
