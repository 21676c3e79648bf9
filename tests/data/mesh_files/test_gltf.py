"""Colours and places of glTF files: factors in linear light, parts kept apart, and every loss told."""

from __future__ import annotations

import base64
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("embreex", reason="needs the extra `pose`")
pytest.importorskip("PIL", reason="needs the extra `viz`")
pytest.importorskip("trimesh", reason="needs the extra `pose`")

import trimesh

from refkp.data.mesh_files.parts import GREY
from refkp.data.meshes import Mesh, load_mesh
from tests.support.glb import BOX, Glb
from tests.support.mesh_colours import png, seen, write_picture

FACTOR, FACTOR_SRGB = [0.25, 0.01, 0.6, 1.0], (137, 25, 203)  # linear, and what it looks like
GREEN = (30, 180, 60)


def read(path: Path) -> Mesh:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return load_mesh(path, unit="m")


def base(**fields: Any) -> dict[str, Any]:
    return {"pbrMetallicRoughness": fields, "doubleSided": True, "alphaMode": "BLEND"}


def flat(colour: tuple[int, ...] = GREEN) -> bytes:
    return png(np.broadcast_to(np.array(colour, np.uint8), (4, 4, 3)).copy())


def srgb(linear: float) -> int:
    return int(np.floor((1.055 * linear ** (1 / 2.4) - 0.055) * 255 + 0.5))


def test_a_factor_is_linear(tmp_path: Path) -> None:
    glb = Glb()
    glb.add_part(base(baseColorFactor=FACTOR))
    mesh = read(glb.save(tmp_path / "a.glb"))
    assert mesh.has_colour
    np.testing.assert_allclose(mesh.extent, [80, 60, 40], rtol=1e-6)
    assert [seen(mesh, side) for side in "xyz"] == [FACTOR_SRGB] * 3


def test_a_texture_times_a_factor(tmp_path: Path) -> None:
    glb = Glb()
    glb.add_part(base(baseColorFactor=[0.3, 1, 0.1, 1], baseColorTexture={"index": glb.add_texture(flat())}))
    light = [((value / 255 + 0.055) / 1.055) ** 2.4 if value > 10 else value / 255 / 12.92 for value in GREEN]
    wanted = (srgb(light[0] * 0.3), 180, srgb(light[2] * 0.1))
    assert seen(read(glb.save(tmp_path / "a.glb")), "y") == wanted


@pytest.mark.parametrize("kind", [np.float32, np.uint8, np.uint16])
def test_colours_of_vertices_are_linear_and_times_the_factor(tmp_path: Path, kind: type) -> None:
    scale = 1 if kind is np.float32 else np.iinfo(kind).max
    colours = (np.tile([0.2, 0.6, 1.0, 0.5], (24, 1)) * scale).round(7 if scale == 1 else 0).astype(kind)
    for factor in ([1.0, 1, 1, 1], [0.5, 0.5, 0.25, 1]):
        glb = Glb()
        glb.add_part(base(baseColorFactor=factor), COLOR_0=colours)
        light = np.array([0.2, 0.6, 1.0]) * factor[:3]
        np.testing.assert_allclose(
            seen(read(glb.save(tmp_path / "a.glb")), "z"), [srgb(v) for v in light], atol=1
        )
    glb = Glb()
    glb.add_part(None, COLOR_0=colours)
    assert read(glb.save(tmp_path / "b.glb")).has_colour


def test_factors_and_colours_in_0_to_255_are_divided_by_it(tmp_path: Path) -> None:
    glb = Glb()
    glb.add_part(base(baseColorFactor=[51, 204, 255, 1]))
    assert seen(read(glb.save(tmp_path / "a.glb")), "x") == (srgb(0.2), srgb(0.8), 255)
    glb = Glb()
    glb.add_part(None, COLOR_0=np.tile(np.float32([102, 0, 255, 255]), (24, 1)))
    assert seen(read(glb.save(tmp_path / "b.glb")), "x") == (srgb(0.4), 0, 255)


@pytest.mark.parametrize("values", [[1.5, 0.3, 0.2, 1], [-0.1, 0, 0, 1], [700, 0, 0, 1]])
def test_factors_and_colours_in_neither_range_are_errors(tmp_path: Path, values: list[float]) -> None:
    glb, other = Glb(), Glb()
    glb.add_part(base(baseColorFactor=values))
    with pytest.raises(ValueError, match=r"a\.glb: the colour factor .* must be in 0\.\.1 or in 0\.\.255"):
        read(glb.save(tmp_path / "a.glb"))
    other.add_part(None, COLOR_0=np.tile(np.float32(values), (24, 1)))
    with pytest.raises(ValueError, match=r"b\.glb: colours of vertices must be in 0\.\.1 or in 0\.\.255"):
        read(other.save(tmp_path / "b.glb"))


def test_one_colour_of_all_vertices_tints_a_texture_and_others_are_told(tmp_path: Path) -> None:
    glb = Glb()
    material = base(baseColorTexture={"index": glb.add_texture(flat((255, 255, 255)))})
    glb.add_part(material, COLOR_0=np.full((24, 3), 0.25, np.float32))
    assert seen(read(glb.save(tmp_path / "a.glb")), "x") == (srgb(0.25),) * 3
    glb = Glb()
    material = base(baseColorTexture={"index": glb.add_texture(flat())})
    glb.add_part(material, COLOR_0=np.linspace(0, 1, 72, dtype=np.float32).reshape(24, 3))
    with pytest.warns(UserWarning, match=r"b\.glb: some of its colours are lost: colours of vertices"):
        assert seen(load_mesh(glb.save(tmp_path / "b.glb"), unit="m"), "x") == GREEN


def test_parts_keep_their_own_colours(tmp_path: Path) -> None:
    glb = Glb()
    glb.add_part(base(baseColorTexture={"index": glb.add_texture(flat())}), sides=[0, 1], uv_scale=9)
    glb.add_part(base(baseColorFactor=FACTOR), sides=[2, 3])
    glb.add_part(None, sides=[4, 5], COLOR_0=np.full((8, 4), 0.5, np.float32))
    mesh = read(glb.save(tmp_path / "a.glb"))
    assert [seen(mesh, side) for side in "xyz"] == [GREEN, FACTOR_SRGB, (srgb(0.5),) * 3]


def test_a_texture_stands_as_in_the_format(tmp_path: Path) -> None:
    """The first row of a picture is at v = 0 of the file, which the builder writes as 1 - v."""
    halves = np.zeros((2, 2, 3), np.uint8)
    halves[0], halves[1] = GREEN, (200, 0, 0)
    glb = Glb()
    glb.add_part(base(baseColorTexture={"index": glb.add_texture(png(halves))}))
    mesh = read(glb.save(tmp_path / "a.glb"))
    assert mesh.uv is not None
    np.testing.assert_array_equal(mesh.uv[:4], [[0, 0], [1, 0], [1, 1], [0, 1]])
    np.testing.assert_array_equal(mesh.textures[0], halves)


def test_texture_transform_and_other_coordinates(tmp_path: Path) -> None:
    glb = Glb()
    moved = {"scale": [2, 3], "offset": [0.5, 0.25], "texCoord": 1}
    info = {"index": glb.add_texture(flat()), "extensions": {"KHR_texture_transform": moved}}
    other = np.tile(np.array([[0.1, 0.2]], np.float32), (24, 1))
    glb.add_part(base(baseColorTexture=info), TEXCOORD_1=other)
    mesh = read(glb.save(tmp_path / "a.glb"))
    assert mesh.uv is not None
    np.testing.assert_allclose(mesh.uv, np.tile([[0.7, 1 - 0.85]], (24, 1)), atol=1e-6)


def test_convention_a_texture_turns_counter_clockwise_in_coordinates_with_v_down(tmp_path: Path) -> None:
    glb = Glb()
    moved = {"rotation": np.pi / 2, "scale": [0.5, 1], "offset": [0, 0.25]}
    info = {"index": glb.add_texture(flat()), "extensions": {"KHR_texture_transform": moved}}
    glb.add_part(base(baseColorTexture=info))
    for number, uv in enumerate(((1, 0), (0, 1))):
        glb.add_part(base(baseColorTexture=info), TEXCOORD_0=np.tile(np.array([uv], np.float32), (24, 1)))
        mesh = read(glb.save(tmp_path / "a.glb"))
        assert mesh.uv is not None
        wanted = ((0, -0.5 + 0.25), (1, 0.25))[number]
        np.testing.assert_allclose(mesh.uv[-1], (wanted[0], 1 - wanted[1]), atol=1e-6)


def test_specular_glossiness_and_unlit(tmp_path: Path) -> None:
    glb = Glb()
    glb.add_part(
        {"extensions": {"KHR_materials_pbrSpecularGlossiness": {"diffuseFactor": FACTOR}}}, sides=[0, 1]
    )
    unlit = {**base(baseColorFactor=FACTOR), "extensions": {"KHR_materials_unlit": {}}}
    glb.add_part(unlit, sides=[2, 3, 4, 5])
    mesh = read(glb.save(tmp_path / "a.glb"))
    assert [seen(mesh, side) for side in "xyz"] == [FACTOR_SRGB] * 3


def test_nodes_are_placed_as_trimesh_places_them(tmp_path: Path) -> None:
    glb = Glb()
    turn = {"rotation": [0.1, 0.7, -0.1, 0.7], "translation": [0.2, 0, 0.1], "scale": [1, 2, 0.5]}
    glb.add_part(base(baseColorFactor=FACTOR), node=turn)
    mirror = np.diag([-1.0, 1, 1, 1])
    mirror[:3, 3] = 0.3, -0.1, 0
    glb.add_part(base(baseColorFactor=FACTOR), node={"matrix": mirror.T.reshape(-1).tolist()})
    glb.document["nodes"][0]["children"] = [1]
    glb.document["scenes"][0]["nodes"] = [0]
    norm = np.linalg.norm(turn["rotation"])
    glb.document["nodes"][0]["rotation"] = [value / norm for value in turn["rotation"]]
    path = glb.save(tmp_path / "a.glb")
    mesh = read(path)
    theirs = trimesh.load_scene(path, process=False).to_mesh()
    np.testing.assert_allclose(mesh.bounds, theirs.bounds * 1000, atol=1e-3)
    corners = mesh.vertices[mesh.faces]
    volume = np.einsum("fi,fi->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6
    assert volume == pytest.approx(2 * np.prod(np.ptp(BOX, 0)), rel=1e-4)  # both parts face outwards


def test_text_files_with_data_inside_and_beside(tmp_path: Path) -> None:
    glb = Glb()
    write_picture(tmp_path / "some skin.png", GREEN)
    glb.add_part(base(baseColorTexture={"index": glb.add_texture(uri="some%20skin.png")}))
    (tmp_path / "box.bin").write_bytes(glb.binary)
    inside = "data:application/octet-stream;base64," + base64.b64encode(glb.binary).decode()
    for uri in ("box.bin", inside):
        glb.document["buffers"] = [{"byteLength": len(glb.binary), "uri": uri}]
        (tmp_path / "a.gltf").write_text(json.dumps(glb.document))
        assert seen(read(tmp_path / "a.gltf"), "x") == GREEN
    glb.document["buffers"][0]["uri"] = "lost.bin"
    (tmp_path / "a.gltf").write_text(json.dumps(glb.document))
    with pytest.raises(ValueError, match=r"a\.gltf needs 'lost\.bin' beside it"):
        load_mesh(tmp_path / "a.gltf", unit="m")


def test_strips_fans_and_sparse_points(tmp_path: Path) -> None:
    for mode, faces in ((5, [[0, 1, 2], [2, 1, 3]]), (6, [[0, 1, 2], [0, 2, 3]])):
        glb = Glb()
        glb.add_part(sides=[5])
        primitive = glb.document["meshes"][0]["primitives"][0]
        del primitive["indices"]
        primitive["mode"] = mode
        position = glb.document["accessors"][primitive["attributes"]["POSITION"]]
        index, value = (
            glb.accessor(np.array([[3]], np.uint8)),
            glb.accessor(np.array([[0, 0, 0.1]], np.float32)),
        )
        places, values = (glb.document["accessors"][number] for number in (index, value))
        position["sparse"] = {
            "count": 1,
            "indices": {"bufferView": places["bufferView"], "componentType": 5121},
            "values": {"bufferView": values["bufferView"]},
        }
        mesh = read(glb.save(tmp_path / "a.glb"))
        np.testing.assert_array_equal(mesh.faces, faces)
        np.testing.assert_allclose(mesh.vertices[3], [0, 0, 100], atol=1e-5)
        assert not mesh.has_colour


def test_lost_pictures_are_told_and_broken_files_refused(tmp_path: Path) -> None:
    glb = Glb()
    glb.add_part(base(baseColorTexture={"index": glb.add_texture(uri="lost.png")}), sides=[0, 1])
    path = glb.save(tmp_path / "a.glb")
    with pytest.warns(UserWarning, match=r"a\.glb: its colours are lost.*'lost\.png'"):
        assert not load_mesh(path, unit="m").has_colour
    glb.add_part(base(baseColorFactor=FACTOR), sides=[2, 3, 4, 5])
    with pytest.warns(UserWarning, match=r"a\.glb: some of its colours are lost.*'lost\.png'"):
        mesh = load_mesh(glb.save(path), unit="m")
    assert [seen(mesh, side) for side in "xyz"] == [(GREY,) * 3, FACTOR_SRGB, FACTOR_SRGB]
    whole = path.read_bytes()
    for broken in (
        whole[: len(whole) // 2],
        b"glTF",
        b"{}",
        b"[]",
        whole.replace(b'"POSITION": 0', b'"POSITION":77'),
    ):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=r"a\.glb"):
            load_mesh(path, unit="m")
    glb.document["extensionsRequired"] = ["KHR_draco_mesh_compression"]
    with pytest.raises(ValueError, match="Export it without compression"):
        load_mesh(glb.save(path), unit="m")
