"""Made-up objects: size, closed surfaces, textures that tell places apart."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("trimesh", reason="needs the extra `pose`")
pytest.importorskip("PIL", reason="needs the extra `viz`")

import trimesh

from refkp.data.meshes import Mesh
from refkp.data.shapes import KINDS, make_object


def volume(mesh: Mesh) -> float:
    corners = mesh.vertices[mesh.faces]
    return float(np.einsum("fi,fi->f", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6)


@pytest.mark.parametrize("kind", KINDS)
def test_objects_are_hand_sized_centred_and_turned_outwards(kind: str) -> None:
    mesh = make_object(kind, seed=5)
    assert 80 <= mesh.extent.max() <= 200
    assert mesh.extent.min() > 15
    np.testing.assert_allclose(mesh.centre, 0, atol=1e-9)
    assert volume(mesh) > 0.05 * mesh.extent.prod()
    assert len(mesh.textures) == 1


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "mug"])  # a handle ends inside the wall
def test_surfaces_are_closed(kind: str) -> None:
    mesh = make_object(kind, seed=2)
    solid = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    solid.merge_vertices(merge_tex=True, merge_norm=True)
    assert solid.is_watertight


def test_seeds_make_objects_and_the_same_ones_again() -> None:
    one, again, other = make_object("box", 1), make_object("box", 1), make_object("box", 2)
    np.testing.assert_array_equal(one.vertices, again.vertices)
    np.testing.assert_array_equal(one.textures, again.textures)
    assert not np.allclose(one.extent, other.extent)


def test_the_texture_tells_sides_apart() -> None:
    """No tile of a box looks like another one, whichever way it is turned; each has contrast."""
    (texture,) = make_object("box", seed=4).textures
    tiles = texture.reshape(2, 128, 3, 128, 3).swapaxes(1, 2).reshape(6, 128, 128, 3).astype(float)
    assert (tiles.std((1, 2)).max(-1) > 25).all()
    for first in range(6):
        for second in range(first):
            turned = [np.rot90(tiles[second], turn) for turn in range(4)]
            assert min(np.abs(tiles[first] - tile).mean() for tile in turned) > 20


def test_the_pattern_runs_on_across_tiles() -> None:
    """Vertices at one place, of different tiles, have one colour (but for a sharp border there)."""
    mesh = make_object("box", seed=1)
    assert mesh.uv is not None
    (texture,) = mesh.textures
    height, width = texture.shape[:2]
    colours = texture[((1 - mesh.uv[:, 1]) * height).astype(int), (mesh.uv[:, 0] * width).astype(int)].astype(
        int
    )
    _, place, count = np.unique(mesh.vertices.round(6), axis=0, return_inverse=True, return_counts=True)
    first = np.zeros((len(count), 3), int)
    first[place.reshape(-1)] = colours
    shared = count[place.reshape(-1)] > 1
    same = np.abs(colours - first[place.reshape(-1)]).max(-1)[shared] <= 2
    assert same.mean() > 0.98


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(ValueError, match="`kind` must be one of 'box'"):
        make_object("teapot", 0)
