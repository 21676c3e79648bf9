"""The made-up animals."""

from __future__ import annotations

import pytest
import torch

from refkp.systems.multiview.body.posing import BodyPose, pose_body
from refkp.systems.multiview.body.species import SPECIES, species_body

#: As they are labelled in recordings of mice.
MOUSE = (
    *("Nose", "Ear_R", "Ear_L", "TTI", "TailTip", "Head", "Trunk", "Tail_0", "Tail_1", "Tail_2"),
    *("Shoulder_left", "Shoulder_right", "Haunch_left", "Haunch_right", "Neck"),
)

#: Joint -> its place when the animal of made-up sessions stands, in body lengths.
STANDING = {
    "nose": (0.62, 0.0, 0.22),
    "head": (0.48, 0.0, 0.3),
    "ear_left": (0.43, 0.09, 0.36),
    "ear_right": (0.43, -0.09, 0.36),
    "neck": (0.33, 0.0, 0.28),
    "shoulder_left": (0.25, 0.12, 0.2),
    "shoulder_right": (0.25, -0.12, 0.2),
    "paw_front_left": (0.27, 0.15, 0.0),
    "paw_front_right": (0.27, -0.15, 0.0),
    "trunk": (0.0, 0.0, 0.27),
    "hip_left": (-0.28, 0.14, 0.2),
    "hip_right": (-0.28, -0.14, 0.2),
    "paw_hind_left": (-0.26, 0.17, 0.0),
    "paw_hind_right": (-0.26, -0.17, 0.0),
    "tail_base": (-0.38, 0.0, 0.2),
    "tail_middle": (-0.6, 0.0, 0.17),
    "tail_tip": (-0.85, 0.0, 0.12),
}


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
