"""The viewing sphere: conventions, ERP indices, tiles."""

from __future__ import annotations

import math

import pytest
import torch

from refkp.geometry import sphere


def _lonlat_of_right_edge(rotation: torch.Tensor) -> list[float]:
    edge = rotation @ torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)
    return [math.degrees(angle) for angle in sphere.lonlat_from_direction(edge)]


@pytest.mark.parametrize(
    ("angles", "lonlat"),
    [((0.0, 0.0, 20.0), (43.22, -14.0)), ((0.0, 30.0, 0.0), (49.11, 20.7)), ((90.0, 0.0, 0.0), (135.0, 0.0))],
)
def test_convention_view_rotation(angles: tuple[float, ...], lonlat: tuple[float, float]) -> None:
    """Where the right edge of a 90 degree view looks: roll clockwise, pitch up, yaw right (spec 1.1)."""
    assert _lonlat_of_right_edge(sphere.view_rotation(*angles)) == pytest.approx(lonlat, abs=0.05)


@pytest.mark.parametrize("z_down", [False, True])
def test_convention_equilib_rotation(z_down: bool) -> None:
    """Without z_down yaw turns left and pitch down, with it right and up; roll never flips (spec 1.2)."""
    roll, pitch, yaw = 0.2, 0.3, 0.5
    sign = 1 if z_down else -1
    want = sphere.view_rotation(*(math.degrees(angle) for angle in (sign * yaw, sign * pitch, roll)))
    torch.testing.assert_close(sphere.equilib_rotation(roll, pitch, yaw, z_down), want)


def test_convention_erp_index() -> None:
    """Forward is the middle of the image, right its positive half, up the top; integers are pixel centres."""
    directions = torch.tensor([[0, 0, 1], [1, 0, 0], [0, 1, 0]], dtype=torch.float64)
    index = sphere.erp_from_direction(directions, 4, 8)
    torch.testing.assert_close(index[:, 0], torch.tensor([3.5, 5.5, 3.5], dtype=torch.float64))
    torch.testing.assert_close(index[:, 1], torch.tensor([1.5, 1.5, -0.5], dtype=torch.float64))
    first = sphere.direction_from_erp(torch.zeros(2, dtype=torch.float64), 4, 8)
    lon, lat = sphere.lonlat_from_direction(first)
    assert (math.degrees(lon), math.degrees(lat)) == pytest.approx((-157.5, 67.5))


def test_erp_index_round_trip() -> None:
    directions = sphere.erp_directions(11, 22)
    index = sphere.erp_from_direction(directions, 11, 22)
    torch.testing.assert_close(sphere.direction_from_erp(index, 11, 22), directions)
    assert index[3, 5].tolist() == pytest.approx([5, 3])


def test_latitude_keeps_its_digits_at_the_pole() -> None:
    """asin(y / |d|) would be off by 3e-4 rad in float32."""
    direction = torch.tensor([1e-4, 1.0, 0.0])
    _, lat = sphere.lonlat_from_direction(direction)
    assert math.pi / 2 - float(lat) == pytest.approx(1e-4, rel=2e-3)


def test_rotations_are_rotations() -> None:
    rotation = torch.cat(
        (sphere.random_rotation(16), sphere.view_rotation(*(torch.rand(3, 9, dtype=torch.float64) * 360)))
    )
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3, dtype=torch.float64).expand(25, 3, 3))
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(25, dtype=torch.float64))


def test_view_rotation_has_gradients_and_broadcasts() -> None:
    yaw = torch.tensor([10.0, 20.0], dtype=torch.float64, requires_grad=True)
    assert sphere.view_rotation(yaw, 5.0).shape == (2, 3, 3)
    assert torch.autograd.gradcheck(lambda angle: sphere.view_rotation(angle, 5.0, angle / 2), yaw)


def test_great_circle_distance_near_zero_and_pi() -> None:
    a = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    near = sphere.direction_from_lonlat(*torch.tensor([1e-9, 0.0], dtype=torch.float64))
    assert float(sphere.great_circle_distance(a, near)) == pytest.approx(1e-9, rel=1e-6)
    assert float(sphere.great_circle_distance(a, -near)) == pytest.approx(math.pi - 1e-9, rel=1e-12)


def test_tile_solid_angle() -> None:
    """Six 90 degree tiles cover the sphere; the closed form agrees with the midpoint rule."""
    square = sphere.half_tangents(90.0, 90.0)
    assert float(sphere.tile_solid_angle(square)) == pytest.approx(2 * math.pi / 3)
    tangent = sphere.half_tangents(100.0, 40.0)
    ray = sphere.tangent_grid(400, 400, tangent)
    cell = 4 * tangent.prod() / 400**2
    assert float((ray.norm(dim=-1) ** -3 * cell).sum()) == pytest.approx(
        float(sphere.tile_solid_angle(tangent)), rel=1e-4
    )


@pytest.mark.parametrize("angles", [(45, 0, 0), (30, 40, 70), (0, 80, 0), (120, 20, 0), (180, 0, 0)])
def test_intersection_solid_angle_counts_shared_directions(angles: tuple[int, ...]) -> None:
    """Against the share of a fine grid of A's directions that B contains, and symmetric."""
    a, b = sphere.view_rotation(10.0, 20.0, 30.0), sphere.view_rotation(*(float(angle) for angle in angles))
    tangent_a, tangent_b = sphere.half_tangents(90.0, 70.0), sphere.half_tangents(60.0, 110.0)
    ray = sphere.tangent_grid(300, 300, tangent_a)
    weight = ray.norm(dim=-1) ** -3 * 4 * tangent_a.prod() / 300**2
    inside = sphere.tile_contains(b[None], tangent_b[None], ray @ a.mT)[0]
    exact = sphere.intersection_solid_angle(a, tangent_a, b, tangent_b)
    assert exact == pytest.approx(float((weight * inside).sum()), abs=5e-3)
    assert exact == pytest.approx(sphere.intersection_solid_angle(b, tangent_b, a, tangent_a), abs=1e-12)


def test_tile_outline_is_closed_and_on_the_border() -> None:
    rotation, tangent = sphere.view_rotation(170.0, 30.0, 10.0), sphere.half_tangents(90.0, 60.0)
    camera = sphere.tile_outline(rotation, tangent, 8) @ rotation
    ratio = (camera[:, :2] / camera[:, 2:] / tangent).abs()
    torch.testing.assert_close(ratio.amax(-1), torch.ones(33, dtype=torch.float64))
    torch.testing.assert_close(camera[0], camera[-1])


@pytest.mark.parametrize("fov", [0.0, 180.0, -10.0])
def test_half_tangents_rejects_impossible_fields_of_view(fov: float) -> None:
    with pytest.raises(ValueError, match=r"inside \(0,180\)"):
        sphere.half_tangents(fov, 90.0)


def test_a_tile_does_not_contain_what_lies_behind_it() -> None:
    rotation = sphere.random_rotation(5, generator=torch.Generator().manual_seed(3))
    limits = sphere.half_tangents(90.0, 60.0).expand(5, 2)
    ahead = rotation[:, :, 2]
    assert sphere.tile_contains(rotation, limits, ahead).diagonal().all()
    assert not sphere.tile_contains(rotation, limits, -ahead).diagonal().any()
