"""Rotary codes of the sphere: what they promise, and what the published form does not keep."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

pytest.importorskip("hypothesis", reason="needs the extra `dev`")

from hypothesis import given
from hypothesis import strategies as st

from refkp.geometry.sphere import random_rotation
from refkp.systems.pose.model.s2rope import (
    SphereSplit,
    automatic_split,
    frame_faces,
    planar_phases,
    published_phases,
    reference_faces,
    s2_rotary,
    smooth_phases,
)

EYE = torch.eye(3, dtype=torch.float64)


def directions(count: int) -> Tensor:
    return random_rotation(count)[:, 0]


def published(views: Tensor, reference: Tensor, count: int = 4) -> Tensor:
    return published_phases(views, reference_faces(reference), count)


def smooth(views: Tensor, frame: Tensor, count: int = 4) -> Tensor:
    return smooth_phases(views, frame_faces(frame), count)


def test_automatic_split_fills_the_head() -> None:
    assert [automatic_split(size).channels for size in (16, 32, 64, 96, 128, 1024)] == [
        16,
        32,
        64,
        96,
        128,
        1024,
    ]
    assert automatic_split(256) == (49, 49, 5)
    with pytest.raises(ValueError, match="even and at least 16; got 12"):
        automatic_split(12)


def test_planar_phases() -> None:
    x, y = planar_phases(torch.tensor([[2, 3]]), SphereSplit(2, 3, 0), base=100.0)
    torch.testing.assert_close(x, torch.tensor([[3.0, 0.3]]))
    torch.testing.assert_close(y, torch.tensor([[2.0, 2 * 100 ** (-1 / 3), 2 * 100 ** (-2 / 3)]]))


@pytest.mark.parametrize("faces", [reference_faces(EYE[2]), reference_faces(directions(5)), frame_faces(EYE)])
def test_faces_are_right_handed_frames(faces: tuple[Tensor, Tensor, Tensor]) -> None:
    normal, v, w = faces
    frames = torch.stack((v, w, normal), -1)
    torch.testing.assert_close(frames.mT @ frames, EYE.expand_as(frames))
    torch.testing.assert_close(torch.linalg.det(frames), torch.ones(frames.shape[:-2]).double())
    torch.testing.assert_close(normal[..., 1::2, :], -normal[..., ::2, :])


@pytest.mark.parametrize(("height", "axis"), [(0.89, 2), (0.91, 1), (-0.91, 1)])
def test_the_second_face_comes_from_z_and_near_the_poles_from_y(height: float, axis: int) -> None:
    direction = torch.tensor([math.sqrt(1 - height**2), 0.0, height], dtype=torch.float64)
    want = EYE[axis] - direction[axis] * direction
    torch.testing.assert_close(reference_faces(direction).normal[2], want / want.norm())


def test_published_phases_of_a_view_beside_a_face() -> None:
    """30 degrees from r = x towards its second axis: gamma is pi/6 and phi is pi/2."""
    faces = reference_faces(EYE[0])
    view = math.cos(math.pi / 6) * faces.normal[0] + math.sin(math.pi / 6) * faces.w[0]
    phases = published_phases(view[None], faces, 4, base=16.0)[0, 0]
    torch.testing.assert_close(
        phases, torch.tensor([math.pi / 6, math.pi / 24, math.pi / 2, math.pi / 8]).double()
    )
    assert published_phases(view[None], faces, 1).shape == (1, 6, 1)  # azimuth alone


@pytest.mark.parametrize("sign", [1, -1])
def test_a_view_on_the_axis_of_a_face_has_no_azimuth_whatever_its_rounding(sign: int) -> None:
    """As the anchor, whose reference direction is its own view in float32."""
    views = directions(40)
    faces = reference_faces(views.float().double())
    phases = published_phases(sign * views[:, None], faces, 3)[:, 0, :2]
    gamma = torch.tensor([[0.0, math.pi], [math.pi, 0.0]][sign < 0], dtype=torch.float64)
    torch.testing.assert_close(phases[..., 0], gamma.expand(40, 2), atol=1e-3, rtol=0)
    assert not phases[..., 1:].any()


@pytest.mark.parametrize("phases", [published_phases, smooth_phases])
def test_masked_views_have_no_phase(phases: Callable[..., Tensor]) -> None:
    got = phases(directions(3), reference_faces(EYE[2]), 3, mask=torch.tensor([True, False, True]))
    assert not got[1].any()
    assert got[0].any()


@given(st.integers(0, 10_000))
def test_a_joint_turn_leaves_the_smooth_phases(seed: int) -> None:
    """Views and the anchor's frame turn with the object's frame: nothing moves."""
    torch.manual_seed(seed)
    frame, turn = random_rotation(2)
    views = directions(6)
    torch.testing.assert_close(
        smooth(views @ turn.mT, frame @ turn.mT), smooth(views, frame), atol=1e-9, rtol=0
    )


def test_a_joint_turn_moves_the_published_phases() -> None:
    """Its faces come from the axes of the object's frame: azimuths move, the angles from +-r do not."""
    views, reference = directions(6), directions(1)[0]
    turn = random_rotation(1)[0]
    before, after = published(views, reference), published(views @ turn.mT, turn @ reference)
    torch.testing.assert_close(after[:, :2, :2], before[:, :2, :2])
    assert float((after - before)[:, :2, 2:].abs().max()) > 0.1
    about_z = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]).double()
    around = published(views @ about_z.mT, about_z @ EYE[2])
    assert float((around - published(views, EYE[2])).abs().max()) > 0.1


@given(st.integers(0, 10_000))
def test_smooth_phases_are_continuous(seed: int) -> None:
    torch.manual_seed(seed)
    views, frame = directions(6), random_rotation(1)[0]
    near = torch.nn.functional.normalize(views + 1e-7 * torch.randn(6, 3).double(), dim=-1)
    assert float((smooth(near, frame, 6) - smooth(views, frame, 6)).abs().max()) < 1e-4


def test_smooth_phases_are_continuous_at_the_poles_and_the_seam() -> None:
    """Around each pole, and across phi = pi, where the published phases jump."""
    angle = torch.linspace(0, 2 * math.pi, 17).double()
    circle = torch.stack((angle.cos(), angle.sin(), 0 * angle), -1)
    for axis in range(3):
        around = torch.nn.functional.normalize(EYE[2] + 1e-6 * circle, dim=-1).roll(axis, -1)
        pole = EYE[2].roll(axis)[None]
        assert float((smooth(around, EYE) - smooth(pole, EYE)).abs().max()) < 1e-4
    faces = frame_faces(EYE)
    sides = torch.tensor([[0.6, -0.8, 1e-9], [0.6, -0.8, -1e-9]]).double()
    jump = (smooth_phases(sides, faces, 4)[0] - smooth_phases(sides, faces, 4)[1]).abs().max()
    assert float(jump) < 1e-6
    published_jump = published_phases(sides, faces, 4)[0] - published_phases(sides, faces, 4)[1]
    turn = torch.polar(torch.ones(()).double(), published_jump) - 1  # whole turns do not count
    assert float(turn.abs().max()) > 0.05


def test_smooth_phases_tell_all_views_apart() -> None:
    views, frame = directions(40), random_rotation(1)[0]
    for count in (1, 2, 3):
        phases = smooth(views, frame, count).flatten(1)
        distances = torch.cdist(phases, phases) + torch.eye(40)
        assert bool((distances > torch.cdist(views, views)).all())


def test_products_depend_on_phase_differences_and_norms_stay() -> None:
    split = SphereSplit(2, 2, 2)
    tokens = torch.randn(2, 9, split.channels).double()
    x, y, face = (torch.randn(9, *shape).double() for shape in ((2,), (2,), (6, 2)))
    code = s2_rotary(x, y, face)
    moved = s2_rotary(x + 0.3, y - 1.0, face + 2.0)
    products = code(tokens[0]) @ code(tokens[1]).mT
    torch.testing.assert_close(moved(tokens[0]) @ moved(tokens[1]).mT, products)
    pairs = code(tokens[0]).unflatten(-1, (-1, 2)).norm(dim=-1)
    torch.testing.assert_close(pairs, tokens[0].unflatten(-1, (-1, 2)).norm(dim=-1))


def test_two_tokens_of_one_template_differ_by_their_place_alone() -> None:
    """The same face phases on both sides cancel in a product."""
    split = SphereSplit(2, 2, 2)
    tokens, (x, y) = (
        torch.randn(2, 4, split.channels).double(),
        planar_phases(torch.randint(0, 9, (4, 2)), split),
    )
    products = []
    for face in torch.randn(2, 6, 2).double():
        code = s2_rotary(x, y, face.expand(4, -1, -1))
        products.append(code(tokens[0]) @ code(tokens[1]).mT)
    torch.testing.assert_close(*products)


def test_smooth_phases_by_their_definition() -> None:
    """Cosines of the azimuth on r, e1, e2, sines on the faces opposite to them."""
    frame = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
    faces = frame_faces(frame * torch.linalg.det(frame))
    direction = torch.nn.functional.normalize(torch.randn(1, 3, dtype=torch.float64), dim=-1)
    phases = smooth_phases(direction, faces, 3)[0]
    for face in range(6):
        along, v, w = (float(direction[0] @ axes[face]) for axes in faces)
        azimuth = math.atan2(w, v)
        wave = math.sin(azimuth) if face % 2 else math.cos(azimuth)
        assert float(phases[face, 0]) == pytest.approx(math.pi * along)
        assert float(phases[face, 2]) == pytest.approx(math.pi * math.hypot(v, w) * wave)
