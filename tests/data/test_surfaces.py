"""Texture lookup and smooth normals."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("trimesh", reason="needs the extra `pose`")
pytest.importorskip("PIL", reason="needs the extra `viz`")

from refkp.data.meshes import Mesh
from refkp.data.shapes import make_object
from refkp.data.surfaces import corner_normals, texture_colours


def test_texel_centres_and_what_lies_between() -> None:
    texture = np.arange(24, dtype=np.uint8).reshape(2, 4, 3) * 10
    rows, columns = np.mgrid[:2, :4]
    uv = np.stack(((columns + 0.5) / 4, 1 - (rows + 0.5) / 2), -1).reshape(-1, 2)
    np.testing.assert_allclose(texture_colours(texture, uv), texture.reshape(-1, 3))
    between = texture_colours(texture, np.array([[0.25, 0.75]]))
    np.testing.assert_allclose(between[0], texture[0, :2].mean(0))


def test_the_border_is_held_and_coordinates_outside_repeat() -> None:
    texture = np.zeros((1, 4, 3), np.uint8)
    texture[0, 0] = 200
    held = texture_colours(texture, np.array([[0.0, 0.5], [1.0, 0.5]]))
    assert held[:, 0].tolist() == [200, 0]
    repeated = texture_colours(texture, np.array([[-1.875, 0.5], [3.0, 0.5]]))
    assert repeated[:, 0].tolist() == [200, 100]


def test_normals_of_a_ball_are_smooth_and_those_of_a_block_are_not() -> None:
    ball = make_object("blob", seed=0)
    radii = np.linalg.norm(ball.vertices, axis=1, keepdims=True)
    sphere = Mesh(ball.vertices / radii, ball.faces)
    corners = sphere.vertices[sphere.faces]
    normals = corner_normals(corners)
    assert (np.einsum("fci,fci->fc", normals, corners) > 0.999).all()
    block = make_object("l_block", seed=0)
    sides = corner_normals(block.vertices[block.faces])
    np.testing.assert_allclose(np.abs(sides).max(-1), 1, atol=1e-9)


def test_a_triangle_without_area_has_no_normal() -> None:
    assert not corner_normals(np.zeros((1, 3, 3))).any()
