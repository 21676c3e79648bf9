"""PLY and STL: colours of vertices and faces, textures, and files that are no meshes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import pytest

pytest.importorskip("embreex", reason="needs the extra `pose`")
pytest.importorskip("PIL", reason="needs the extra `viz`")
pytest.importorskip("trimesh", reason="needs the extra `pose`")

from refkp.data.meshes import Mesh, load_mesh
from tests.support.glb import BOX, SIDES
from tests.support.mesh_colours import seen, write_picture


def ply(
    path: Path,
    vertex: str = "",
    face: str = "",
    comment: str = "",
    kind: str = "uchar",
    faces: Sequence[tuple[int, ...]] = SIDES,
) -> Path:
    """The box as text, with the same words behind all vertices or faces."""
    names = ("red", "green", "blue") if not comment else ("s", "t")
    lines = ["ply", "format ascii 1.0", *([f"comment {comment}"] if comment else []), "element vertex 8"]
    lines += [f"property float {axis}" for axis in "xyz"]
    lines += [f"property {kind} {name}" for name in names] if vertex else []
    lines += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
    lines += [f"property {kind} {name}" for name in names] if face else []
    lines += ["end_header", *("{:g} {:g} {:g} ".format(*corner) + vertex for corner in BOX)]
    lines += [f"{len(corners)} {' '.join(map(str, corners))} {face}" for corners in faces]
    path.write_text("\n".join(lines) + "\n")
    return path


def read(path: Path) -> Mesh:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        return load_mesh(path, unit="mm")


def test_colours_of_vertices_and_of_faces(tmp_path: Path) -> None:
    assert seen(read(ply(tmp_path / "v.ply", vertex="10 200 90")), "x") == (10, 200, 90)
    with pytest.warns(UserWarning, match=r"q\.ply: its colours are lost.*save triangles"):
        assert not load_mesh(ply(tmp_path / "q.ply", face="210 20 90"), unit="mm").has_colour
    triangles = [half for a, b, c, d in SIDES for half in ((a, b, c), (a, c, d))]
    path = ply(tmp_path / "f.ply", face="210 20 90", faces=triangles)
    assert seen(read(path), "y") == (210, 20, 90)
    assert not read(ply(tmp_path / "plain.ply")).has_colour


def test_a_texture_of_ply(tmp_path: Path) -> None:
    path = ply(tmp_path / "t.ply", vertex="0.5 0.5", comment="TextureFile skin.png", kind="float")
    with pytest.warns(UserWarning, match=r"t\.ply: its colours are lost"):
        assert not load_mesh(path, unit="mm").has_colour
    write_picture(tmp_path / "skin.png", (90, 10, 200))
    assert seen(read(path), "x") == (90, 10, 200)


def test_what_is_no_mesh_is_one_line(tmp_path: Path) -> None:
    write_picture(tmp_path / "photo.png", (1, 2, 3))
    (tmp_path / "photo.obj").write_bytes((tmp_path / "photo.png").read_bytes())
    (tmp_path / "photo.ply").write_bytes((tmp_path / "photo.png").read_bytes())
    (tmp_path / "photo.glb").write_bytes((tmp_path / "photo.png").read_bytes())
    (tmp_path / "words.xyz123").write_text("hello")
    for name in ("photo.png", "photo.obj", "photo.ply", "photo.glb", "words.xyz123"):
        with pytest.raises(ValueError, match=name.replace(".", r"\.")) as error:
            load_mesh(tmp_path / name, unit="mm")
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=r"the picture .*Name the mesh; its pictures are found"):
        load_mesh(tmp_path / "photo.png", unit="mm")
