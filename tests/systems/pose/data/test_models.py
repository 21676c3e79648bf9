"""Models of BOP and of MegaPose sets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("trimesh", reason="needs the extra `pose`")
pytest.importorskip("PIL", reason="needs the extra `viz`")
pytest.importorskip("embreex", reason="needs the extra `pose`")

from refkp.data.meshes import Mesh, save_mesh
from refkp.systems.pose.data.models import ModelSet, info_entry


def tetrahedron(size: float, *, shift: float = 0.0) -> Mesh:
    """Corners at the origin and on the axes; sides of size, size / 2 and size / 2."""
    vertices = size * np.array([[0.0, 0, 0], [1, 0, 0], [0, 0.5, 0], [0, 0, 0.5]]) + shift
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    return Mesh(vertices, faces, vertex_colours=np.full((4, 3), 90, np.uint8))


@pytest.fixture
def bop(tmp_path: Path) -> Path:
    """Object 5, 80 mm long, with both kinds of symmetry."""
    (tmp_path / "models").mkdir()
    save_mesh(tetrahedron(80.0, shift=3.0), tmp_path / "models/obj_000005.obj")
    turn = np.diag([-1.0, -1, 1, 1]).flatten().tolist()
    entry = {
        "diameter": 89.4,
        "symmetries_discrete": [turn],
        "symmetries_continuous": [{"axis": [0, 0, 1], "offset": [1, 2, 3]}],
    }
    (tmp_path / "models/models_info.json").write_text(json.dumps({"5": entry}))
    return tmp_path


def test_bop_models_keep_their_frame(bop: Path) -> None:
    models = ModelSet(bop)
    assert models.obj_ids == (5,)
    np.testing.assert_allclose(models.mesh(5).vertices.min(0), [3, 3, 3])
    np.testing.assert_allclose(models.mesh(5).extent, [80, 40, 40])
    info = models.info(5)
    assert info.diameter == 89.4
    assert torch.equal(info.symmetries_discrete[0], torch.diag(torch.tensor([-1.0, -1, 1, 1])).double())
    assert info.symmetries_continuous[0].offset.tolist() == [1, 2, 3]


def test_listed_models_are_centred_and_200_mm_long(tmp_path: Path) -> None:
    """Whatever the unit of the file."""
    (tmp_path / "models/Toy/meshes").mkdir(parents=True)
    save_mesh(tetrahedron(0.8, shift=5.0), tmp_path / "models/Toy/meshes/model.obj")
    (tmp_path / "models_info.json").write_text(json.dumps([{"obj_id": 2, "gso_id": "Toy"}]))
    models = ModelSet(tmp_path)
    np.testing.assert_allclose(models.mesh(2).extent, [200, 100, 100])
    np.testing.assert_allclose(models.mesh(2).centre, 0, atol=1e-9)
    assert models.info(2).diameter == pytest.approx(100 * np.sqrt(5))
    assert models.info(2).symmetries_continuous == ()


def test_the_entry_of_a_mesh_is_that_of_the_challenge() -> None:
    entry = info_entry(tetrahedron(80.0, shift=3.0))
    assert entry["diameter"] == pytest.approx(40 * np.sqrt(5))
    assert (entry["min_x"], entry["size_x"], entry["size_z"]) == (3, 80, 40)


def test_errors(bop: Path, tmp_path: Path) -> None:
    models = ModelSet(bop)
    save_mesh(tetrahedron(0.08), bop / "models/obj_000005.obj")  # metres
    with pytest.raises(ValueError, match="unit"):
        models.mesh(5)
    with pytest.raises(ValueError, match="one of the 1 objects"):
        models.mesh(6)
    (bop / "models/obj_000005.obj").rename(bop / "models/other.obj")
    with pytest.raises(ValueError, match=r"a single mesh at .*obj_000005; got 0 of them"):
        ModelSet(bop).mesh(5)
    with pytest.raises(ValueError, match=r"a folder with models/models_info.json"):
        ModelSet(bop / "models/nothing")
    (bop / "models/models_info.json").write_text(json.dumps([{"obj_id": 2, "size": 1}]))
    with pytest.raises(ValueError, match="must be a list with one of"):
        ModelSet(bop).mesh(2)
    (bop / "models/models_info.json").write_text("{}")
    with pytest.raises(ValueError, match="names objects"):
        ModelSet(bop)


@pytest.mark.parametrize("unit", [1.0, 0.001])
def test_a_glb_is_in_the_unit_that_gives_its_diameter(bop: Path, unit: float) -> None:
    (bop / "models/obj_000005.obj").unlink()
    trimesh = pytest.importorskip("trimesh")
    mesh = tetrahedron(80.0 * unit, shift=3.0 * unit)
    trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).export(bop / "models/obj_000005.glb")
    np.testing.assert_allclose(ModelSet(bop).mesh(5).bounds, [[3, 3, 3], [83, 43, 43]], rtol=1e-5)
    table = json.loads((bop / "models/models_info.json").read_text())
    table["5"]["diameter"] = 700.0
    (bop / "models/models_info.json").write_text(json.dumps(table))
    with pytest.raises(ValueError, match="of meshes 700 mm large, in millimetres or metres"):
        ModelSet(bop).mesh(5)


def test_models_cad_stands_in_for_models(bop: Path) -> None:
    (bop / "models").rename(bop / "models_cad")
    assert ModelSet(bop).mesh(5).extent.tolist() == pytest.approx([80, 40, 40])


def test_hidden_files_beside_a_listed_model_are_not_seen(tmp_path: Path) -> None:
    save_mesh(tetrahedron(0.8), tmp_path / "models/Toy/meshes/model.obj")
    hidden = tmp_path / "models/Toy/meshes/.ipynb_checkpoints"
    hidden.mkdir()
    for path in (hidden / "model.obj", hidden.parent / "._model.obj"):
        path.write_bytes(b"not a mesh")
    (tmp_path / "models_info.json").write_text(json.dumps([{"obj_id": 2, "gso_id": "Toy"}]))
    assert ModelSet(tmp_path).mesh_path(2).name == "model.obj"
