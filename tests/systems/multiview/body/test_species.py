"""The made-up animals."""

from __future__ import annotations

import pytest
import torch

from refkp.systems.multiview.body.posing import BodyPose, pose_body
from refkp.systems.multiview.body.species import SPECIES, species_body
from refkp.systems.multiview.data.animal import STANDING

#: As they are labelled in recordings of mice.
MOUSE = (
    *("Nose", "Ear_R", "Ear_L", "TTI", "TailTip", "Head", "Trunk", "Tail_0", "Tail_1", "Tail_2"),
    *("Shoulder_left", "Shoulder_right", "Haunch_left", "Haunch_right", "Neck"),
)


def test_the_mouse_has_the_points_that_mice_are_labelled_with() -> None:
    assert sorted(species_body("mouse").joint_names) == sorted(MOUSE)


def test_the_quadruped_is_the_animal_of_made_up_sessions() -> None:
    body = species_body("quadruped")
    assert set(body.joint_names) == set(STANDING)
    want = torch.tensor([STANDING[name] for name in body.joint_names])
    torch.testing.assert_close(body.rest_joints, want, atol=1e-6, rtol=0)


def other_side(name: str) -> str:
    for left, right in (("left", "right"), ("_L", "_R")):
        if name.endswith((left, right)):
            return name.removesuffix(left) + right if name.endswith(left) else name.removesuffix(right) + left
    return name


@pytest.mark.parametrize("name", SPECIES)
def test_left_and_right_are_mirror_images(name: str) -> None:
    body = species_body(name)
    order = [body.joint_names.index(other_side(joint)) for joint in body.joint_names]
    assert order != sorted(order)
    mirror = torch.tensor([1.0, -1.0, 1.0])
    torch.testing.assert_close(body.rest_joints[order] * mirror, body.rest_joints, atol=1e-6, rtol=0)
    assert [order[p] if p >= 0 else -1 for p in body.parents] == [body.parents[o] for o in order]
    assert body.limits is not None
    assert torch.equal(body.limits[order], body.limits)
    for beta in (torch.zeros(1, body.num_betas), torch.randn(1, body.num_betas)):  # every animal is
        pose = BodyPose(torch.eye(3).expand(1, body.num_joints, 3, 3), body.rest_joints[:1], beta)
        vertices = pose_body(body, pose).vertices[0].double()
        distance, nearest = torch.cdist(
            vertices * mirror, vertices, compute_mode="donot_use_mm_for_euclid_dist"
        ).min(1)
        assert float(distance.max()) < 2e-6
        movers = body.weights.argmax(1)
        assert torch.equal(torch.tensor(order)[movers[nearest]], movers)


@pytest.mark.parametrize("name", SPECIES)
def test_left_is_where_y_is_positive_and_the_head_is_in_front(name: str) -> None:
    body = species_body(name)
    place = dict(zip(body.joint_names, body.rest_joints, strict=True))
    assert all(point[1] > 0 for joint, point in place.items() if joint.endswith(("left", "_L")))
    head = place["Head"] if name == "mouse" else place["head"]
    assert head[0] > 0.2
    assert 0.9 < body.length < 1.7


@pytest.mark.parametrize("name", SPECIES)
def test_each_shape_changes_the_animal_by_a_little(name: str) -> None:
    body = species_body(name)
    moved = body.shapedirs.norm(dim=1).amax(0)
    assert body.num_betas in (3, 4)
    assert ((moved > 0.005) & (moved < 0.25)).all()


def test_other_animals_are_refused() -> None:
    with pytest.raises(ValueError, match="`name` must be one of 'insect', 'mouse', 'quadruped'; got 'cat'"):
        species_body("cat")
