"""Meshes: what is read, what is refused, and that written meshes come back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("trimesh", reason="needs the extra `pose`")
pytest.importorskip("PIL", reason="needs the extra `viz`")

from refkp.data.meshes import Mesh, load_mesh, save_mesh
from refkp.data.shapes import make_object

CORNERS = np.array([[0, 0, 0], [100, 0, 0], [0, 50, 0], [0, 0, 20]], float)
FACES = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])


def tetrahedron(scale: float = 1.0) -> Mesh:
    return Mesh(CORNERS * scale, FACES)


def test_size_and_middle() -> None:
    mesh = tetrahedron()
    assert mesh.extent.tolist() == [100, 50, 20]
    assert mesh.centre.tolist() == [50, 25, 10]
    assert mesh.diameter == pytest.approx(np.hypot(100, 50))
    np.testing.assert_allclose(mesh.centred().bounds, [[-50, -25, -10], [50, 25, 10]])


def test_a_vertex_without_a_face_does_not_count() -> None:
    mesh = Mesh(np.concatenate((CORNERS, [[1e4, 0, 0]])), FACES)
    assert mesh.extent.max() == 100
    assert mesh.diameter < 120


def test_diameter_is_that_of_all_pairs() -> None:
    points = np.random.default_rng(0).normal(size=(300, 3)) * (10, 20, 30)
    mesh = Mesh(points, np.arange(300).reshape(-1, 3))
    distances: NDArray[np.float64] = np.linalg.norm(points[:, None] - points, axis=-1)
    assert mesh.diameter == pytest.approx(distances.max(), rel=1e-12)


def test_textured_mesh_comes_back(tmp_path: Path) -> None:
    mesh = make_object("box", seed=3)
    save_mesh(mesh, tmp_path / "object.obj")
    back = load_mesh(tmp_path / "object.obj", unit="mm")
    assert back.has_colour
    assert mesh.uv is not None
    assert back.uv is not None
    np.testing.assert_array_equal(back.textures, mesh.textures)
    np.testing.assert_allclose(back.vertices[back.faces], mesh.vertices[mesh.faces], atol=1e-6)
    np.testing.assert_allclose(back.uv[back.faces], mesh.uv[mesh.faces], atol=1e-7)


def test_coloured_and_plain_meshes_come_back(tmp_path: Path) -> None:
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 8, 7]], np.uint8)
    save_mesh(Mesh(CORNERS, FACES, vertex_colours=colours), tmp_path / "coloured.obj")
    back = load_mesh(tmp_path / "coloured.obj", unit="mm")
    assert back.vertex_colours is not None
    np.testing.assert_array_equal(back.vertex_colours[back.faces], colours[FACES])
    save_mesh(tetrahedron(), tmp_path / "plain.obj")
    assert not load_mesh(tmp_path / "plain.obj", unit="mm").has_colour


def test_colours_of_faces_go_to_their_corners(tmp_path: Path) -> None:
    trimesh = pytest.importorskip("trimesh")
    colours = np.array([[200, 0, 0, 255], [0, 200, 0, 255], [0, 0, 200, 255], [50, 50, 50, 255]], np.uint8)
    solid = trimesh.Trimesh(CORNERS, FACES, face_colors=colours, process=False)
    solid.export(tmp_path / "faces.ply")
    mesh = load_mesh(tmp_path / "faces.ply", unit="mm")
    assert mesh.vertex_colours is not None
    np.testing.assert_array_equal(mesh.vertex_colours[mesh.faces][:, 0], colours[:, :3])


def test_a_picture_that_is_missing_gives_no_colour(tmp_path: Path) -> None:
    save_mesh(make_object("box", seed=0), tmp_path / "object.obj")
    (tmp_path / "object.png").unlink()
    with pytest.warns(UserWarning, match=r"object\.obj: its colours are lost.*'object\.png'"):
        assert not load_mesh(tmp_path / "object.obj", unit="mm").has_colour


def test_units(tmp_path: Path) -> None:
    save_mesh(tetrahedron(), tmp_path / "mm.obj")
    save_mesh(tetrahedron(0.001), tmp_path / "m.obj")
    assert load_mesh(tmp_path / "m.obj", unit="m").extent.max() == pytest.approx(100)
    with pytest.raises(ValueError, match=r"100000 mm with 'm'.*may be in cm or mm: give that unit, or scale"):
        load_mesh(tmp_path / "mm.obj", unit="m")
    with pytest.raises(ValueError, match=r"0.1 mm with 'mm'.*may be in m: give that unit"):
        load_mesh(tmp_path / "m.obj", unit="mm")
    assert load_mesh(tmp_path / "m.obj", unit="mm", check_extent=False).extent.max() == pytest.approx(0.1)
    with pytest.raises(ValueError, match="`unit` must be one of"):
        load_mesh(tmp_path / "mm.obj", unit="inch")  # type: ignore[arg-type]


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.obj"):
        load_mesh(tmp_path / "nothing.obj", unit="mm")
    (tmp_path / "broken.ply").write_bytes(b"ply\nformat binary_little_endian 1.0\nelement vertex 9")
    with pytest.raises(ValueError, match=r"broken\.ply"):
        load_mesh(tmp_path / "broken.ply", unit="mm")
    (tmp_path / "points.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\n")
    with pytest.raises(ValueError, match=r"load_mesh|Mesh: `faces`"):
        load_mesh(tmp_path / "points.obj", unit="mm")
    with pytest.raises(ValueError, match=r"ends in \.obj"):
        save_mesh(tetrahedron(), tmp_path / "mesh.ply")


def test_bad_surfaces() -> None:
    broken = CORNERS.copy()
    broken[2, 1] = np.nan
    with pytest.raises(ValueError, match="1 of 4 vertices NaN"):
        Mesh(broken, FACES)
    with pytest.raises(ValueError, match="F > 0"):
        Mesh(CORNERS, FACES[:0])
    with pytest.raises(ValueError, match=r"indices of the 4 vertices; got 0..4"):
        Mesh(CORNERS, np.array([[0, 1, 4]]))
    with pytest.raises(ValueError, match="`vertices` must be"):
        Mesh(CORNERS[:, :2], FACES)
    with pytest.raises(ValueError, match="given together"):
        Mesh(CORNERS, FACES, uv=np.zeros((4, 2)))
    with pytest.raises(ValueError, match="`uv` must be"):
        Mesh(CORNERS, FACES, uv=np.zeros((3, 2)), textures=(np.zeros((2, 2, 3), np.uint8),))
    with pytest.raises(ValueError, match="`textures` must be"):
        Mesh(CORNERS, FACES, uv=np.zeros((4, 2)), textures=(np.zeros((2, 2), np.uint8),))
    with pytest.raises(ValueError, match="`vertex_colours` must be"):
        Mesh(CORNERS, FACES, vertex_colours=np.zeros((3, 3), np.uint8))


@pytest.mark.realdata
def test_the_bottle(bottle_file: Path) -> None:
    mesh = load_mesh(bottle_file, unit="m")
    assert [texture.shape for texture in mesh.textures] == [(1024, 1024, 3)]
    np.testing.assert_allclose(mesh.extent, [72.612, 73.514, 215.128], atol=1e-3)
    distances = np.linalg.norm(mesh.vertices[:, None] - mesh.vertices, axis=-1)
    assert mesh.diameter == pytest.approx(distances.max(), rel=1e-12)
