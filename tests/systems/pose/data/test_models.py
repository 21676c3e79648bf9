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
