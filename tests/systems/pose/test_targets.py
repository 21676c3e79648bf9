"""Targets of the heads on scenes with a closed form: the laws of correspondence, and rows without any."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("hypothesis", reason="needs the extra `dev`")

from hypothesis import given, settings
from hypothesis import strategies as st

from refkp.ops.flow_gt import patch_centres
from refkp.systems.pose.targets import TargetSpec, pose_targets
from refkp.systems.pose.views import Views
from tests.support.flow_scenes import intrinsics, pixel_grid, plane_depth, pose, rotation, sphere_depth

SIZE, P, N = (48, 48), 8, 36
K = intrinsics(SIZE, 1.6)
RADIUS = 100.0
AXES = st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda axis: sum(x * x for x in axis) > 0.01)
EXAMPLES = settings(max_examples=25)


def views(depths: list[Tensor], poses: list[Tensor], camera: Tensor = K) -> Views:
    depth = torch.stack(depths).float()
    return Views(
        torch.zeros(len(depths), 3, *SIZE),
        depth > 0,
        depth,
        camera.expand(len(depths), 3, 3),
        torch.stack(poses),
    )


def stacked(templates: Views) -> Views:
    """[S] -> [1,S]."""
    return Views(*(tensor[None] for tensor in templates))


def sphere(cam_from_obj: Tensor) -> Tensor:
    """A sphere about the origin of the object."""
    return sphere_depth(cam_from_obj[:3, 3], RADIUS, K, SIZE, 0.5)


def at(turn: Tensor, distance: float = 400.0) -> Tensor:
    return pose(turn, (0.0, 0.0, distance))


STRAIGHT = at(torch.eye(3, dtype=torch.float64))


def one(query: Tensor, template: Tensor, **options: Any) -> Any:
    """Targets of one query and one template, both of the sphere."""
    return pose_targets(
        views([sphere(query)], [query]),
        stacked(views([sphere(template)], [template])),
        P,
        TargetSpec(**options),
    )


@pytest.mark.parametrize("options", [{}, {"vote": True}, {"mutual": True}])
def test_identity(options: Any) -> None:
    """Every patch of the object is its own partner, and its flow is the place of the pixel in the patch."""
    targets = one(STRAIGHT, STRAIGHT, **options)
    labels = targets.labels[0, 0]
    on_object = labels >= 0
    assert 0 < on_object.sum() < N
    assert torch.equal(labels[on_object], torch.arange(N)[on_object])
    in_patch = (pixel_grid((P, P), 0.5) - P / 2) / P
    seen = targets.visible[0, 0]
    wanted = in_patch.float().expand(N, P, P, 2)
    torch.testing.assert_close(targets.flow[0, 0][seen], wanted[seen])
    assert not targets.flow[0, 0][~on_object].any()


@EXAMPLES
@given(axis=AXES, angle=st.floats(-0.5, 0.5))
def test_flow_leads_from_the_template_pixel_to_its_point_in_the_query(axis: Any, angle: float) -> None:
    """Composition: the query point of the flow, carried back by the other flow, is the template pixel."""
    template = at(rotation(axis, angle))
    targets = one(STRAIGHT, template)
    seen = targets.visible[0, 0].nonzero()
    assert len(seen) > 200
    patch, i, j = seen.unbind(-1)
    points = patch_centres(SIZE, P).float()[patch] + P * targets.flow[0, 0][patch, i, j]
    partner = targets.labels[0, 0][patch]
    column, row = partner % 6 * P + j, partner // 6 * P + i
    ray = (torch.cat([points, torch.ones(len(points), 1)], -1).double()) @ torch.linalg.inv(K).T
    depth = _sphere_depth_along(ray, STRAIGHT[:3, 3])
    # Both poses turn about the centre of the sphere, so the same object point lies at R X + t of the other.
    in_object = ray * depth[:, None] - STRAIGHT[:3, 3]
    in_template = in_object @ template[:3, :3].T + template[:3, 3]
    uv = (in_template @ K.T)[:, :2] / in_template[:, 2:]
    error = (uv - torch.stack([column + 0.5, row + 0.5], -1)).norm(dim=-1)
    # On the rim the tolerance of the test lets a point pass that lies just behind the horizon.
    facing = -(in_object * ray).sum(-1) / (RADIUS * ray.norm(dim=-1))
    assert float(error[facing > 0.2].max()) < 1e-2


def _sphere_depth_along(ray: Tensor, centre: Tensor) -> Tensor:
    a, b = (ray * ray).sum(-1), ray @ centre
    return (b - (b * b - a * (centre @ centre - RADIUS**2)).clamp(min=0).sqrt()) / a


@EXAMPLES
@given(axis=AXES, angle=st.floats(-3, 3), shift=st.tuples(*[st.floats(-30, 30)] * 3))
def test_the_object_frame_does_not_matter(axis: Any, angle: float, shift: Any) -> None:
    template, frame = at(rotation((0.3, 1.0, 0.0), 0.4), 420.0), pose(rotation(axis, angle), shift)
    depths = sphere(STRAIGHT), sphere(template)
    plain, moved = (
        pose_targets(
            views([depths[0]], [STRAIGHT @ change]), stacked(views([depths[1]], [template @ change])), P
        )
        for change in (torch.eye(4, dtype=torch.float64), frame)
    )
    assert torch.equal(plain.labels, moved.labels)
    torch.testing.assert_close(plain.flow, moved.flow, rtol=1e-4, atol=1e-4)


@EXAMPLES
@given(scale=st.floats(0.05, 20.0))
def test_one_unit_for_everything_is_as_good_as_another(scale: float) -> None:
    template = at(rotation((0.3, 1.0, 0.0), 0.4), 420.0)
    plain = one(STRAIGHT, template)
    scaled = []
    for camera in (STRAIGHT, template):
        moved = camera.clone()
        moved[:3, 3] *= scale
        scaled.append(views([sphere(camera) * scale], [moved]))
    other = pose_targets(scaled[0], stacked(scaled[1]), P, TargetSpec(tol_abs=0.5 * scale))
    assert (plain.labels != other.labels).double().mean() < 0.03  # rounding at the edge of the tolerance
    both = plain.visible & other.visible
    torch.testing.assert_close(plain.flow[both], other.flow[both], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_template_turned_in_plane_moves_labels_about_the_middle(turns: int) -> None:
    """Quarter turns of the template camera carry patch centres to patch centres."""
    targets = one(STRAIGHT, at(rotation((0.0, 0.0, 1.0), turns * math.pi / 2)))
    labels, centres = targets.labels[0, 0], patch_centres(SIZE, P)
    matched = (labels >= 0) & (labels < N)
    assert matched.sum() > 8
    turn = rotation((0.0, 0.0, 1.0), turns * math.pi / 2)[:2, :2]
    middle = torch.tensor([SIZE[1] / 2, SIZE[0] / 2], dtype=torch.float64)
    # The centre pixel lies half a pixel beside the patch centre, so it stays in the patch it lands in.
    wanted = (centres - middle) @ turn.T + middle
    torch.testing.assert_close(centres[labels[matched]], wanted[matched])


@EXAMPLES
@given(axis=AXES, angle=st.floats(-0.2, 0.2))
def test_plane_flow_is_its_homography(axis: Any, angle: float) -> None:
    normal = torch.tensor([0.1, -0.2, 1.0], dtype=torch.float64)
    template = STRAIGHT @ pose(rotation(axis, angle), (0, 0, 0))
    motion = STRAIGHT @ torch.linalg.inv(template)  # template -> query
    in_template = motion[:3, :3].T @ normal
    distance = 400.0 - float(normal @ motion[:3, 3])
    targets = pose_targets(
        views([plane_depth(normal, 400.0, K, SIZE, 0.5)], [STRAIGHT]),
        stacked(views([plane_depth(in_template, distance, K, SIZE, 0.5)], [template])),
        P,
    )
    plane_map = motion[:3, :3] + torch.outer(motion[:3, 3], in_template) / distance
    homography = K @ plane_map @ torch.linalg.inv(K)
    patch, i, j = targets.visible[0, 0].nonzero().unbind(-1)
    partner = targets.labels[0, 0][patch]
    pixel = torch.stack(
        [partner % 6 * P + j + 0.5, partner // 6 * P + i + 0.5, torch.ones(len(i))], -1
    ).double()
    wanted = pixel @ homography.T
    points = patch_centres(SIZE, P)[patch] + P * targets.flow[0, 0][patch, i, j]
    assert len(patch) > 100
    torch.testing.assert_close(points, wanted[:, :2] / wanted[:, 2:], rtol=0, atol=1e-3)


def test_sphere_patches_see_each_other_where_both_caps_overlap() -> None:
    template = at(rotation((0.0, 1.0, 0.0), 1.2))
    targets = one(STRAIGHT, template)
    labels = targets.labels[0, 0]
    centres = patch_centres(SIZE, P) + 0.5  # the centre pixel of a patch of even size
    ray = torch.cat([(centres - K[:2, 2]) / K[0, 0], torch.ones(N, 1)], -1)
    points = ray * _sphere_depth_along(ray, STRAIGHT[:3, 3])[:, None]
    normal = (points - STRAIGHT[:3, 3]) / RADIUS
    facing = -(normal @ template[:3, :3].T)[:, 2]
    on_object = labels >= 0
    assert torch.equal(on_object, views([sphere(STRAIGHT)], [STRAIGHT]).masks[0][4::8, 4::8].flatten())
    assert (labels[on_object & (facing > 0.5)] < N).all()
    assert (labels[on_object & (facing < 0.1)] == N).all()
    assert (labels[on_object] == N).any()
    assert (labels[on_object] < N).any()


def test_mutual_and_vote_only_change_what_they_say() -> None:
    template = at(rotation((0.2, 1.0, 0.1), 0.6))
    plain = one(STRAIGHT, template)
    mutual, vote = one(STRAIGHT, template, mutual=True), one(STRAIGHT, template, vote=True)
    dropped = plain.labels != mutual.labels
    assert (mutual.labels[dropped] == N).all()
    assert (vote.labels >= 0).sum() >= (plain.labels >= 0).sum()
    assert not torch.equal(vote.labels, plain.labels)


def test_a_query_without_mask_or_with_bad_depth_has_no_targets() -> None:
    """Row 0 is sound, 1 has an empty mask, 2 NaN depth, 3 zero depth: the others stay what they are alone."""
    depth = sphere(STRAIGHT)
    query = views([depth] * 4, [STRAIGHT] * 4)
    query.masks[1] = False
    query.depth[2] = torch.nan
    query.depth[3] = 0
    template = at(rotation((0.2, 1.0, 0.1), 0.3))
    single = stacked(views([sphere(template)], [template]))
    targets = pose_targets(query, Views(*(tensor.expand(4, *tensor.shape[1:]) for tensor in single)), P)
    alone = pose_targets(query.select(slice(0, 1)), single, P)
    assert torch.equal(targets.labels[:1], alone.labels)
    assert torch.equal(targets.flow[:1], alone.flow)
    assert (targets.labels[1:] == -1).all()
    assert not targets.visible[1:].any()
    assert torch.isfinite(targets.flow).all()


def test_a_template_without_depth_is_unseen() -> None:
    template = stacked(views([torch.full(SIZE, torch.nan)], [STRAIGHT]))
    template.masks[:] = True
    targets = pose_targets(views([sphere(STRAIGHT)], [STRAIGHT]), template, P)
    assert set(targets.labels.unique().tolist()) == {-1, N}
    assert not targets.has_partner.any()


def test_errors() -> None:
    query = views([sphere(STRAIGHT)], [STRAIGHT])
    with pytest.raises(ValueError, match=r"`templates` must be \[B,S\] views"):
        pose_targets(query, query, P)
    small = Views(
        *(
            tensor[..., :40, :40] if tensor.dim() > 2 and tensor.shape[-1] == 48 else tensor
            for tensor in query
        )
    )
    with pytest.raises(ValueError, match="of the size of the query"):
        pose_targets(query, stacked(small), P)
