"""Rendering against closed forms: planes, a ball, overlaps, textures, light."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("embreex", reason="needs the extra `pose`")
pytest.importorskip("PIL", reason="needs the extra `viz`")
pytest.importorskip("trimesh", reason="needs the extra `pose`")

from refkp.data.mesh_files.parts import GREY
from refkp.data.meshes import Mesh, load_mesh
from refkp.data.rendering import Light, MeshRenderer, render_depth
from refkp.data.shapes import make_object

Array = NDArray[np.float64]

K = np.array([[120.0, 0, 31.3], [0, 110.0, 30.2], [0, 0, 1]])
SIZE = (60, 64)


def pose_at(z: float, x: float = 0.0, turn: float = 0.0) -> Array:
    pose = np.eye(4)
    pose[:3, 3] = x, 0, z
    pose[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    return pose


def tilt(angle: float) -> Array:
    """A turn about x."""
    pose = np.eye(4)
    pose[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return pose


def square(side: float = 100.0, **colours: Array) -> Mesh:
    """A square in the x-y plane, y down; its texture stands upright for a camera that looks along z."""
    half = side / 2
    corners = np.array([[-half, -half, 0], [half, -half, 0], [half, half, 0], [-half, half, 0]])
    return Mesh(corners, np.array([[0, 2, 1], [0, 3, 2]]), **colours)  # type: ignore[arg-type]


UPRIGHT = np.array([[0.0, 1], [1, 1], [1, 0], [0, 0]])


def pixel_rays() -> Array:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    return np.stack((x, y, np.ones_like(x)), -1) @ np.linalg.inv(K).T


def test_convention_depth_is_z_at_pixel_centres_of_a_tilted_plane() -> None:
    pose = pose_at(500) @ tilt(0.9)
    rays = pixel_rays()
    normal = pose[:3, 2]
    exact = (normal @ pose[:3, 3]) / (rays @ normal)
    points = (rays * exact[..., None] - pose[:3, 3]) @ pose[:3, :3]
    inside = np.abs(points[..., :2]).max(-1) < 50
    depth = render_depth(square(), pose, K, SIZE)
    np.testing.assert_array_equal(depth > 0, inside)
    np.testing.assert_allclose(depth[inside], exact[inside], atol=1e-4)


def test_depth_of_a_fine_ball_has_no_holes() -> None:
    trimesh = pytest.importorskip("trimesh")
    ball = trimesh.creation.icosphere(subdivisions=5, radius=60)
    mesh = Mesh(np.array(ball.vertices), np.array(ball.faces, np.int64))
    rays = pixel_rays()
    along, square_length = rays[..., 2] * 300, (rays**2).sum(-1)
    root = along**2 - square_length * (300**2 - 59**2)
    exact = (along - np.sqrt(np.clip(root, 0, None))) / square_length
    depth = render_depth(mesh, pose_at(300), K, SIZE)
    assert (depth[root > 0] > 0).all()
    steep = root > 2e3 * square_length  # elsewhere the facets matter
    assert np.abs(depth - exact)[steep].max() < 3


def test_the_nearest_wins_and_areas_count_what_is_hidden() -> None:
    renderer = MeshRenderer([square(100), square(60)])
    both = renderer.render([pose_at(600), pose_at(500, x=20)], K, SIZE)
    alone = [
        renderer.render([pose_at(*place)], K, SIZE, which=[mesh])
        for mesh, place in enumerate([(600,), (500, 20)])
    ]
    assert both.areas.tolist() == [(picture.depth > 0).sum() for picture in alone]
    near, far = alone[1].depth > 0, alone[0].depth > 0
    np.testing.assert_array_equal(both.instance, np.where(near, 1, np.where(far, 0, -1)))
    np.testing.assert_array_equal(both.depth, np.where(near, 500, np.where(far, 600, 0)).astype(np.float32))


def test_one_mesh_may_stand_in_several_places() -> None:
    picture = MeshRenderer([square(40)]).render(
        [pose_at(500, x=-50), pose_at(500, x=50), pose_at(-500)], K, SIZE, which=[0, 0, 0]
    )
    assert set(np.unique(picture.instance)) == {-1, 0, 1}
    assert picture.areas[2] == 0


def test_a_surface_around_the_camera_is_seen() -> None:
    box = make_object("box", seed=0)
    depth = render_depth(box, pose_at(0), K, SIZE)
    assert (depth > 0).all()
    assert depth.max() < box.diameter


def test_convention_texture_stands_upright() -> None:
    texture = np.zeros((2, 2, 3), np.uint8)
    texture[0, 0], texture[0, 1], texture[1, 0], texture[1, 1] = (
        (250, 0, 0),
        (0, 250, 0),
        (0, 0, 250),
        (90, 90, 90),
    )
    picture = MeshRenderer([square(uv=UPRIGHT, textures=(texture,))]).render([pose_at(300)], K, SIZE)
    rows, columns = np.nonzero(picture.depth)
    top, bottom, left, right = rows.min(), rows.max(), columns.min(), columns.max()
    corners = picture.rgb[[top, top, bottom, bottom], [left, right, left, right]]
    np.testing.assert_array_equal(corners, texture.reshape(4, 3))


def test_samples_average_the_texture() -> None:
    texture = (255 * (np.indices((200, 200)).sum(0) % 2)).astype(np.uint8)[..., None].repeat(3, -1)
    renderer = MeshRenderer([square(uv=UPRIGHT, textures=(texture,))])
    spreads = []
    for samples in (1, 4):
        picture = renderer.render([pose_at(500, turn=0.2)], K, SIZE, samples=samples)
        spreads.append(picture.rgb[picture.depth > 0].std())
    assert spreads[1] < 0.4 * spreads[0]


def test_outlines_in_front_of_a_background() -> None:
    background = np.full((*SIZE, 3), 40, np.uint8)
    renderer = MeshRenderer([square()])
    picture = renderer.render([pose_at(500, turn=0.3)], K, SIZE, background=background, samples=4)
    values = np.unique(picture.rgb)
    assert values.min() == 40
    assert values.max() == GREY
    assert len(values) > 4  # mixtures at the outline
    bare = renderer.render([pose_at(500, turn=0.3)], K, SIZE, samples=4)
    assert set(np.unique(bare.rgb)) == {0, GREY}  # nothing to mix with
    np.testing.assert_array_equal(bare.depth, picture.depth)


def test_light_falls_off_with_the_cosine_from_either_side() -> None:
    renderer = MeshRenderer([square()])
    light = Light(ambient=0.2, diffuse=0.8)
    for angle in (0.0, 0.7, np.pi):
        picture = renderer.render([pose_at(500) @ tilt(angle)], K, SIZE, light=light)
        wanted = GREY * (0.2 + 0.8 * abs(np.cos(angle)))
        assert picture.rgb[30, 31].tolist() == pytest.approx([wanted] * 3, abs=1)
    with pytest.raises(ValueError, match="Light: `direction`"):
        Light(direction=(0, 0, 0))


def test_vertex_colours_are_mixed_across_faces() -> None:
    colours = np.array([[0, 0, 0], [200, 0, 0], [200, 0, 0], [0, 0, 0]], np.uint8)
    picture = MeshRenderer([square(vertex_colours=colours)]).render([pose_at(300)], K, SIZE)
    red = picture.rgb[30, picture.depth[30] > 0, 0].astype(int)
    steps = np.diff(red)
    assert red[0] < 10
    assert red[-1] > 190
    assert steps.max() - steps.min() <= 1


def test_turning_object_and_camera_alike_changes_nothing() -> None:
    mesh = make_object("mug", seed=1)
    rotation = tilt(0.4) @ pose_at(0, turn=1.1)
    turned = Mesh(mesh.vertices @ rotation[:3, :3].T, mesh.faces, mesh.uv, mesh.textures)
    pose = pose_at(500) @ tilt(1.0)
    one = MeshRenderer([mesh]).render([pose], K, SIZE)
    other = MeshRenderer([turned]).render([pose @ np.linalg.inv(rotation)], K, SIZE)
    seen = (one.depth > 0) & (other.depth > 0)
    assert ((one.depth > 0) != (other.depth > 0)).sum() <= 2
    np.testing.assert_allclose(one.depth[seen], other.depth[seen], atol=1e-3)


def test_errors() -> None:
    renderer = MeshRenderer([square()])
    good = np.eye(4)[None]
    with pytest.raises(ValueError, match="at least one mesh"):
        MeshRenderer([])
    with pytest.raises(ValueError, match=r"\[n,4,4\]; got \[4,4\]"):
        renderer.render(np.eye(4), K, SIZE)
    with pytest.raises(ValueError, match="n=1"):
        renderer.render(np.repeat(good, 2, 0), K, SIZE)
    with pytest.raises(ValueError, match=r"`which` must be in 0..0"):
        renderer.render(good, K, SIZE, which=[1])
    with pytest.raises(ValueError, match="NaN"):
        renderer.render(good * np.nan, K, SIZE)
    for scale in (2.0, -1.0):
        with pytest.raises(ValueError, match="rigid"):
            renderer.render(np.diag([scale, scale, scale, 1])[None], K, SIZE)
    with pytest.raises(ValueError, match="`K` must be"):
        renderer.render(good, np.zeros((3, 3)), SIZE)
    with pytest.raises(ValueError, match="`size` must be"):
        renderer.render(good, K, (0, 5))
    with pytest.raises(ValueError, match="`background` must be"):
        renderer.render(good, K, SIZE, background=np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(ValueError, match="`samples` must be"):
        renderer.render(good, K, SIZE, samples=0)


@pytest.mark.realdata
def test_the_bottle_is_rendered_as_in_the_golden_case(bottle_file: Path) -> None:
    golden = Path(__file__).parents[2] / "golden" / "pose" / "real_flow_fuze.npz"
    if not golden.is_file():
        pytest.skip("the golden case is not there")
    mesh = load_mesh(bottle_file, unit="m")
    renderer = MeshRenderer([mesh])
    arrays = np.load(golden)
    poses = np.concatenate((arrays["pose_q"][None], arrays["pose_t"]))
    depths = np.concatenate((arrays["depth_q"][None], arrays["depth_t"]))
    for pose, depth in zip(poses, depths, strict=True):
        np.testing.assert_allclose(
            renderer.render_depth(pose[None], arrays["K"], (224, 224)), depth, atol=1e-4
        )


def test_a_published_rotation_that_is_not_exact_is_drawn_where_it_projects() -> None:
    """Its transpose is no inverse: rays turned by it would miss by one part in a hundred of the distance."""
    loose = np.eye(4)
    loose[:3, :3] = [[0.996, 0.003, 0.0], [0.0, 1.003, -0.002], [0.004, 0.0, 0.997]]
    loose[:3, 3] = [40, -20, 700]
    mesh = make_object("box", seed=3)
    turned = replace(mesh, vertices=mesh.vertices @ loose[:3, :3].T)
    exact = np.eye(4)
    exact[:3, 3] = loose[:3, 3]
    K = np.array([[900.0, 0, 64], [0, 900, 48], [0, 0, 1]])
    got, want = (
        MeshRenderer([m]).render_depth(pose[None], K, (96, 128))
        for m, pose in ((mesh, loose), (turned, exact))
    )
    assert (want > 0).sum() > 100
    assert ((got > 0) != (want > 0)).sum() <= 2
    both = (got > 0) & (want > 0)
    np.testing.assert_allclose(got[both], want[both], rtol=1e-5)
