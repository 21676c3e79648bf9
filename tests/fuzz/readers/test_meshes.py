"""Broken mesh files: OBJ with its materials, glTF, GLB, PLY and STL."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("trimesh", reason="needs the extra `pose`")
pytest.importorskip("PIL", reason="needs the extra `pose`")

import trimesh

from refkp.data.meshes import Mesh, load_mesh, save_mesh
from tests.fuzz.readers.judge import check_reader


def box() -> trimesh.Trimesh:
    mesh = trimesh.creation.box(extents=(80, 60, 40))
    mesh.visual.vertex_colors = np.arange(32, dtype=np.uint8).reshape(8, 4)
    return mesh


def textured(folder: Path) -> tuple[str, ...]:
    """An OBJ with two textures and their materials."""
    vertices = np.array(box().vertices)
    faces = np.array(box().faces, dtype=np.int64)
    textures = tuple(np.full((2, 2, 3), value, np.uint8) for value in (40, 200))
    chosen = np.arange(len(faces)) % 3 - 1
    colours = np.full((len(vertices), 3), 90, np.uint8)
    save_mesh(Mesh(vertices, faces, vertices[:, :2] / 80, textures, chosen, colours), folder / "object.obj")
    return ("object.obj", "object.mtl", "object.png", "object_1.png")


def exported(folder: Path, suffix: str, **options: object) -> tuple[str, ...]:
    box().export(folder / f"object{suffix}", **options)
    return (f"object{suffix}",)


def gltf(folder: Path) -> tuple[str, ...]:
    """Two nodes, one below the other, and a buffer beside the text."""
    files = trimesh.exchange.gltf.export_gltf(trimesh.Scene([box(), box().apply_translation((0, 0, 99))]))
    for name, data in files.items():
        (folder / name.replace("model", "object")).write_bytes(data)
    document = json.loads((folder / "object.gltf").read_text())
    assert document["nodes"]
    return ("object.gltf", *(name for name in files if name.endswith(".bin")))


FORMATS = {
    "obj": (textured, "object.obj"),
    "gltf": (gltf, "object.gltf"),
    "glb": (lambda folder: exported(folder, ".glb"), "object.glb"),
    "ply": (lambda folder: exported(folder, ".ply", encoding="ascii"), "object.ply"),
    "ply_binary": (lambda folder: exported(folder, ".ply"), "object.ply"),
    "stl": (lambda folder: exported(folder, ".stl"), "object.stl"),
    "stl_ascii": (lambda folder: exported(folder, ".stl", file_type="stl_ascii"), "object.stl"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_broken_meshes(name: str, tmp_path: Path) -> None:
    write, file = FORMATS[name]
    names = write(tmp_path)
    check_reader(f"mesh {name}", tmp_path, lambda: load_mesh(tmp_path / file, unit="mm"), names)
