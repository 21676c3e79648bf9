"""Colours of OBJ files: materials as people write them, each kept apart, and every loss told."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("embreex", reason="needs the extra `pose`")
pytest.importorskip("PIL", reason="needs the extra `viz`")
pytest.importorskip("trimesh", reason="needs the extra `pose`")

from PIL import Image

from refkp.data.mesh_files.parts import GREY
from refkp.data.meshes import Mesh, load_mesh, save_mesh
from tests.support.glb import BOX
from tests.support.mesh_colours import obj_text, seen, write_picture

GREEN, BLUE = (30, 180, 60), (20, 40, 210)


def read(folder: Path, text: str, **files: str) -> Mesh:
    """The box of a text, read without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return load_mesh(write(folder, text, **files), unit="mm")


def write(folder: Path, text: str, **files: str) -> Path:
    for name, content in files.items():
        (folder / f"{name}.mtl").write_text(content)
    path = folder / "the box.obj"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("map_Kd paint.png", "paint.png"),
        ("map_Kd my paint.png", "my paint.png"),
        (r"map_Kd ..\skins\paint.png", "paint.png"),
        (r"map_Kd skins\paint.png", "skins/paint.png"),
        (r"map_Kd C:\Users\me\paint.png", "paint.png"),
        ("map_Kd skins/paint.png", "skins/paint.png"),
        ("map_Kd PAINT.PNG", "paint.png"),
        ("map_kd -blendu on -mm 0 1 -o 0.5 0 0 -clamp off paint.png", "paint.png"),
        ("map_Kd -s 2 2 -bm 0.3 my paint.png", "my paint.png"),
        ("map_Kd -s 1 7.png", "7.png"),
        ("\tmap_Kd\t-texres 512\tpaint.png", "paint.png"),
        ("map_Ka paint.png", "paint.png"),
    ],
)
def test_a_picture_is_found_as_people_name_it(tmp_path: Path, line: str, place: str) -> None:
    write_picture(tmp_path / place, GREEN)
    mesh = read(tmp_path, obj_text(), box=f"newmtl A\n{line}\n")
    assert [seen(mesh, side) for side in "xyz"] == [GREEN] * 3


def test_plain_colours_are_those_of_their_materials(tmp_path: Path) -> None:
    library = "newmtl first one\nKd 0.2 0.4 0.6\nnewmtl b\nKa 0.5 0.3 0.1\nnewmtl c\nKd 0.7\n"
    mesh = read(tmp_path, obj_text(["b", "first one", "b", "b", "b", "c"]), box=library)
    assert mesh.has_colour
    assert [seen(mesh, side) for side in "xyz"] == [(51, 102, 153), (128, 77, 26), (179, 179, 179)]


@pytest.mark.parametrize(
    ("line", "colour"),
    [
        ("Kd 200 40 30", (200, 40, 30)),
        ("Ka 12 0 255", (12, 0, 255)),
        ("Kd 96", (96, 96, 96)),
        ("Kd 2 0 0", (2, 0, 0)),
        ("Kd 127.6 3 0.2", (128, 3, 0)),
        ("Kd 1.0003 0 0.2", (255, 0, 51)),
        ("Kd 1 0 0", (255, 0, 0)),
    ],
)
def test_plain_colours_in_either_range(tmp_path: Path, line: str, colour: tuple[int, ...]) -> None:
    assert seen(read(tmp_path, obj_text(), box=f"newmtl A\n{line}\n"), "x") == colour


def test_a_picture_is_multiplied_by_a_colour_in_either_range(tmp_path: Path) -> None:
    write_picture(tmp_path / "p.png", GREEN)
    read_as = [
        seen(read(tmp_path, obj_text(), box=f"newmtl A\n{line}\nmap_Kd p.png\n"), "x")
        for line in ("Kd 0.2 1 0.4", "Kd 51 255 102", "Kd 255 255 255")
    ]
    assert read_as[0] == read_as[1] != GREEN
    assert read_as[2] == GREEN


@pytest.mark.parametrize("colour", ["300 0 0", "-0.2 0 0", "1.4 0.3 0.3", "256"])
def test_colours_in_neither_range_are_errors(tmp_path: Path, colour: str) -> None:
    with pytest.raises(
        ValueError, match=r"box\.mtl: the numbers of the colour '.*0\.\.1 or in 0\.\.255, not"
    ):
        load_mesh(write(tmp_path, obj_text(), box=f"newmtl A\nKd {colour}\n"), unit="mm")


def test_a_picture_is_multiplied_by_its_colour_in_linear_light(tmp_path: Path) -> None:
    write_picture(tmp_path / "p.png", (200, 100, 50))
    mesh = read(tmp_path, obj_text(), box="newmtl A\nKd 0.5 1 0.8\nmap_Kd p.png\n")
    linear = ((np.array([200, 100, 50]) / 255 + 0.055) / 1.055) ** 2.4
    linear *= ((np.array([0.5, 1, 0.8]) + 0.055) / 1.055) ** 2.4
    assert seen(mesh, "x") == tuple(np.floor((1.055 * linear ** (1 / 2.4) - 0.055) * 255 + 0.5).astype(int))
    black = read(tmp_path, obj_text(), box="newmtl A\nKd 0 0 0\nmap_Kd p.png\n")
    assert seen(black, "x") == (200, 100, 50)


def test_parts_with_and_without_a_picture_stay_apart(tmp_path: Path) -> None:
    write_picture(tmp_path / "p.png", GREEN)
    write_picture(tmp_path / "q.png", BLUE, size=64)
    library = "newmtl A\nmap_Kd p.png\nnewmtl B\nmap_Kd q.png\nnewmtl C\nKd 1 0.5 0\n"
    mesh = read(tmp_path, obj_text(["C", "A", "C", "B", "A", "C"], uv_scale=7), box=library)
    assert [seen(mesh, side) for side in "xyz"] == [GREEN, BLUE, (255, 128, 0)]
    assert len(mesh.textures) == 2


def test_a_picture_is_tiled_beyond_its_borders(tmp_path: Path) -> None:
    stripes = np.zeros((8, 8, 3), np.uint8)
    stripes[:, :4] = 255
    Image.fromarray(stripes).save(tmp_path / "p.png")
    changes = []
    for scale, option in ((1, ""), (3, ""), (1, "-s 3 3 1 ")):
        mesh = read(tmp_path, obj_text(uv_scale=scale), box=f"newmtl A\nmap_Kd {option}p.png\n")
        u = np.linspace(0.01, 0.99, 200) * np.ptp(mesh.uv if mesh.uv is not None else 0)
        changes.append(int(np.abs(np.diff((u % 1) < 0.5)).sum()))
        assert mesh.textures[0].shape == (8, 8, 3)
    assert changes == [1, 5, 5]


@pytest.mark.parametrize("colours", [(0.2, 0.4, 0.8), (51, 102, 204)])
def test_colours_of_vertices_in_either_range(tmp_path: Path, colours: tuple[float, ...]) -> None:
    mesh = read(tmp_path, obj_text([None], library=None, colours=colours, with_uv=False))
    assert [seen(mesh, side) for side in "xyz"] == [(51, 102, 204)] * 3


def test_colours_of_vertices_go_before_plain_colours_and_after_pictures(tmp_path: Path) -> None:
    write_picture(tmp_path / "p.png", GREEN)
    library = "newmtl A\nKd 0.8 0.8 0.8\nnewmtl B\nmap_Kd p.png\n"
    mesh = read(tmp_path, obj_text(["A", "A", "A", "B", "A", "A"], colours=(0, 0, 1)), box=library)
    assert [seen(mesh, side) for side in "xyz"] == [(0, 0, 255), GREEN, (0, 0, 255)]
    for colour, span in (((300, 0, 0), r"0\.\.300"), ((1.3, 0.4, 0), r"0\.\.1\.3")):
        path = write(tmp_path, obj_text([None], library=None, colours=colour))
        with pytest.raises(ValueError, match=rf"the box\.obj: colours of vertices .* not {span}"):
            load_mesh(path, unit="mm")


@pytest.mark.parametrize("bits", ["I;16", "L", "RGBA", "P"])
def test_pictures_of_other_kinds(tmp_path: Path, bits: str) -> None:
    picture = Image.fromarray(
        np.full((4, 4), 120 * 257 if bits == "I;16" else 120, np.uint16 if bits == "I;16" else np.uint8)
    )
    (picture if bits == "I;16" else picture.convert(bits)).save(tmp_path / "p.png")
    assert seen(read(tmp_path, obj_text(), box="newmtl A\nmap_Kd p.png\n"), "z") == (120, 120, 120)


@pytest.mark.parametrize("suffix", [".jpg", ".tga", ".bmp", ".webp", ".tif"])
def test_pictures_of_other_formats(tmp_path: Path, suffix: str) -> None:
    Image.new("RGB", (16, 16), GREEN).save(tmp_path / f"p{suffix}")
    mesh = read(tmp_path, obj_text(), box=f"newmtl A\nmap_Kd p{suffix}\n")
    np.testing.assert_allclose(seen(mesh, "z"), GREEN, atol=3)


LOSSES = {
    "no library file": (obj_text(library="gone.mtl"), {}, "no material file 'gone.mtl'"),
    "no library line": (obj_text([None], library=None), {}, "names no material file"),
    "a material but no library": (obj_text(["A"], library=None, with_uv=False), {}, "names no material file"),
    "no such material": (obj_text(["Z"]), {"box": "newmtl A\nKd 1 0 0\n"}, "no material 'Z'"),
    "no picture": (obj_text(), {"box": "newmtl A\nKd 1 0 0\nmap_Kd lost.png\n"}, "no picture 'lost.png' of"),
    "no coordinates": (obj_text(with_uv=False), {"box": "newmtl A\nmap_Kd p.png\n"}, "'A' has not texture coordinates"),
    "no colour": (obj_text(), {"box": "newmtl A\nillum 2\n"}, "'A' has not a colour"),
    "no material line": (obj_text([None]), {"box": "newmtl A\nKd 1 0 0\n"}, "faces without a material"),
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
def test_lost_colours_are_told_with_the_file(tmp_path: Path, name: str) -> None:
    text, files, reason = LOSSES[name]
    write_picture(tmp_path / "p.png", GREEN)
    with pytest.warns(UserWarning, match=rf"the box\.obj: its colours are lost.*{reason}"):
        mesh = load_mesh(write(tmp_path, text, **files), unit="mm")
    assert not mesh.has_colour
    assert seen(mesh, "x") == (GREY, GREY, GREY)


def test_a_part_that_is_lost_is_grey_beside_the_others(tmp_path: Path) -> None:
    write_picture(tmp_path / "p.png", GREEN)
    library = "newmtl A\nmap_Kd p.png\nnewmtl B\nmap_Kd sub/lost.jpg\nnewmtl C\nKd 0 0 1\n"
    path = write(tmp_path, obj_text(["C", "A", "C", "B", "A", "C"]), box=library)
    with pytest.warns(UserWarning, match=r"the box\.obj: some of its colours are lost.*'sub/lost\.jpg'"):
        mesh = load_mesh(path, unit="mm")
    assert mesh.has_colour
    assert [seen(mesh, side) for side in "xyz"] == [GREEN, (GREY,) * 3, (0, 0, 255)]


def test_a_damaged_picture_or_colour_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "p.png").write_bytes(b"\x89PNG and nothing more")
    with pytest.raises(ValueError, match=r"p\.png cannot be decoded"):
        load_mesh(write(tmp_path, obj_text(), box="newmtl A\nmap_Kd p.png\n"), unit="mm")
    with pytest.raises(ValueError, match=r"box\.mtl: a colour is one or three numbers, not '1 red 0'"):
        load_mesh(write(tmp_path, obj_text(), box="newmtl A\nKd 1 red 0\n"), unit="mm")


def test_polygons_negative_indices_and_broken_lines(tmp_path: Path) -> None:
    text = "".join("v {:g} {:g} {:g}\n".format(*corner) for corner in BOX)
    text += "f 1//1 2//1 4//1 3//1 # a side\nf -4 -2 \\\n -1 -3\nf 1 5 6\nl 1 2\n"
    mesh = read(tmp_path, text)
    np.testing.assert_array_equal(mesh.vertices[mesh.faces][2], BOX[[4, 6, 7]])
    assert len(mesh.faces) == 5
    assert not mesh.has_colour


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("f 1 2 9", r"name `v` 1\.\.8, not 1\.\.9"),
        ("f 0 1 2", r"name `v` 1\.\.8, not 0\.\.2"),
        ("f 1/1 2/1 3/1", r"name `vt` 1\.\.0, not 1\.\.1"),
        ("f 1 2/1 3", "line 9 mixes forms"),
        ("f 1 2 x", "line 9 on"),
        ("v 1 2 x\nf 1 2 3", "could not convert"),
    ],
)
def test_broken_files_name_the_place(tmp_path: Path, line: str, reason: str) -> None:
    text = "".join("v {:g} {:g} {:g}\n".format(*corner) for corner in BOX)
    with pytest.raises(ValueError, match=rf"the box\.obj.*{reason}"):
        load_mesh(write(tmp_path, text + line + "\n"), unit="mm")


def test_a_mesh_of_several_textures_comes_back(tmp_path: Path) -> None:
    write_picture(tmp_path / "p.png", GREEN)
    write_picture(tmp_path / "q.png", BLUE)
    library = "newmtl A\nmap_Kd p.png\nnewmtl B\nmap_Kd q.png\nnewmtl C\nKd 1 0.5 0\n"
    mesh = read(tmp_path, obj_text(["C", "A", "C", "B", "A", "C"]), box=library)
    (tmp_path / "again").mkdir()
    save_mesh(mesh, tmp_path / "again/box.obj")
    back = load_mesh(tmp_path / "again/box.obj", unit="mm")
    assert [seen(back, side) for side in "xyz"] == [GREEN, BLUE, (255, 128, 0)]
    assert len(back.faces) == len(mesh.faces)
