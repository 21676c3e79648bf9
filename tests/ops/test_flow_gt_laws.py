"""What geometry says about flow_gt, on scenes with a closed form (spec pose 11)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("hypothesis", reason="needs the extra `dev`")

from hypothesis import given
from hypothesis import strategies as st

from refkp.ops.flow_gt import FlowGT, flow_gt, gather_pairs, patch_centres, relative_pose, to_dense
from tests.ops.test_flow_gt_patches import random_flow
from tests.support.flow_scenes import intrinsics, pixel_grid, plane_depth, pose, rotation, sphere_depth

ANGLES = st.floats(-0.4, 0.4)
SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))
OFFSETS = st.sampled_from([0.0, 0.5])
AXES = st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda axis: sum(x * x for x in axis) > 0.01)
SHIFTS = st.tuples(*[st.floats(-30, 30)] * 3)
BACKEND = "native"

identity = torch.eye(4, dtype=torch.float64)


def one_pair(
    depth_src: Tensor, K_src: Tensor, depth_dst: Tensor, K_dst: Tensor, motion: Tensor, **options: Any
) -> FlowGT:
    """B = S = 1 without the brackets."""
    return flow_gt(
        depth_src[None], K_src[None], depth_dst[None, None], K_dst[None, None], motion[None, None],
        backend=BACKEND, **options,
    )  # fmt: skip


def seen_from(motion: Tensor, normal: Tensor, distance: float) -> tuple[Tensor, float]:
    """The plane normal . X = distance in the coordinates after `motion`."""
    turned = motion[:3, :3] @ normal
    return turned, distance + float(turned @ motion[:3, 3])


PLANE = torch.tensor([0.1, -0.2, 1.0], dtype=torch.float64)


@given(size=SIZES, offset=OFFSETS)
def test_identity_maps_every_pixel_to_itself(size: tuple[int, int], offset: float) -> None:
    K = intrinsics(size)
    depth = plane_depth(PLANE, 400.0, K, size, offset)
    gt = one_pair(depth, K, depth, K, identity, pixel_offset=offset)
    assert gt.visible.all()
    torch.testing.assert_close(gt.uv[0, 0], pixel_grid(size, offset))


@given(size=SIZES, offset=OFFSETS, axis=AXES, angle=ANGLES, shift=SHIFTS)
def test_plane_follows_its_homography(
    size: tuple[int, int], offset: float, axis: Any, angle: float, shift: Any
) -> None:
    K_src, K_dst = intrinsics(size), intrinsics((30, 50), 0.9, (2.0, -1.0))
    motion = pose(rotation(axis, angle), shift)
    depth = plane_depth(PLANE, 400.0, K_src, size, offset)
    gt = one_pair(
        depth, K_src, torch.full((30, 50), 400.0, dtype=torch.float64), K_dst, motion, pixel_offset=offset
    )
    plane_map = motion[:3, :3] + torch.outer(motion[:3, 3], PLANE) / 400.0
    homography = K_dst @ plane_map @ torch.linalg.inv(K_src)
    grid = pixel_grid(size, offset)
    wanted = torch.cat([grid, torch.ones_like(grid[..., :1])], -1) @ homography.T
    assert gt.in_front.all()
    torch.testing.assert_close(gt.uv[0, 0], wanted[..., :2] / wanted[..., 2:])


@given(axis=AXES, angle=st.floats(-0.15, 0.15), shift=SHIFTS)
def test_composition_returns_to_the_pixel(axis: Any, angle: float, shift: Any) -> None:
    size = (24, 32)
    K, motion = intrinsics(size), pose(rotation(axis, angle), shift)
    depth = plane_depth(PLANE, 400.0, K, size, 0.5)
    depth_dst = plane_depth(*seen_from(motion, PLANE, 400.0), K, size, 0.5)
    gt = one_pair(depth, K, depth_dst, K, motion)
    # The reverse flow of a plane is smooth, so bilinear reading between its pixels costs a small fraction of
    # a pixel.
    back = one_pair(depth_dst, K, depth, K, torch.linalg.inv(motion))
    inner = gt.visible[0, 0] & ((gt.uv[0, 0] > 0.5) & (gt.uv[0, 0] < torch.tensor([31.5, 23.5]))).all(-1)
    grid = gt.normalised()[0]
    returned = torch.nn.functional.grid_sample(back.uv[0].permute(0, 3, 1, 2), grid, align_corners=False)[0]
    error = (returned.permute(1, 2, 0) - pixel_grid(size, 0.5)).norm(dim=-1)
    assert (error[inner] < 1e-2).all()


@given(axis=AXES, angle=st.floats(-3, 3), shift=SHIFTS)
def test_the_object_frame_does_not_matter(axis: Any, angle: float, shift: Any) -> None:
    size = (17, 23)
    K, query = intrinsics(size), pose(rotation((0.0, 1.0, 0.2), 0.3), (1.0, 2.0, 400.0))
    template = pose(rotation((0.3, 1.0, 0.0), 0.1), (3.0, -2.0, 420.0))
    depth = sphere_depth(query[:3, 3], 120.0, K, size, 0.5)
    depth_dst = sphere_depth(template[:3, 3], 120.0, K, size, 0.5)
    frame = pose(rotation(axis, angle), shift)
    results = [
        one_pair(depth, K, depth_dst, K, relative_pose(template @ change, query @ change))
        for change in (identity, frame)
    ]
    torch.testing.assert_close(results[0].uv, results[1].uv)
    assert torch.equal(results[0].flags, results[1].flags)


@given(scale=st.floats(0.01, 100.0))
def test_units_of_the_target_scale_with_depth_and_tolerance(scale: float) -> None:
    size = (17, 23)
    K, motion = intrinsics(size), pose(rotation((0.2, 1.0, 0.0), 0.1), (-40.0, 3.0, 5.0))
    depth = sphere_depth(torch.tensor([0.0, 0.0, 400.0]).double(), 120.0, K, size, 0.5)
    depth_dst = sphere_depth(
        motion[:3, :3] @ torch.tensor([0.0, 0.0, 400.0]).double() + motion[:3, 3], 120.0, K, size, 0.5
    )
    plain = one_pair(depth, K, depth_dst, K, motion)
    units = torch.diag(torch.tensor([scale, scale, scale, 1.0], dtype=torch.float64))
    target_units = one_pair(depth, K, depth_dst * scale, K, units @ motion, tol_abs=0.5 * scale)
    moved = motion.clone()
    moved[:3, 3] *= scale
    all_units = one_pair(depth * scale, K, depth_dst * scale, K, moved, tol_abs=0.5 * scale)
    for scaled in (target_units, all_units):
        torch.testing.assert_close(scaled.uv, plain.uv)
        assert (scaled.flags != plain.flags).double().mean() < 0.01  # rounding at the edge of the tolerance


@given(angle=st.floats(-3.1, 3.1))
def test_in_plane_rotation_turns_uv_about_the_principal_point(angle: float) -> None:
    size = (19, 23)
    K, motion = intrinsics(size), pose(rotation((0.2, 1.0, 0.0), 0.1), (-40.0, 3.0, 5.0))
    depth = plane_depth(PLANE, 400.0, K, size, 0.5)
    turn = rotation((0.0, 0.0, 1.0), angle)
    plain = one_pair(depth, K, depth, K, motion).uv[0, 0]
    turned = one_pair(depth, K, depth, K, pose(turn, (0, 0, 0)) @ motion).uv[0, 0]
    torch.testing.assert_close(turned - K[:2, 2], (plain - K[:2, 2]) @ turn[:2, :2].T)


@pytest.mark.parametrize("rule", ["nearest", "nearest_twosided", "quad"])
def test_sphere_is_visible_where_both_caps_overlap(rule: str) -> None:
    """Away from the rims, where a sampled depth map cannot tell."""
    size, radius, centre = (96, 96), 100.0, torch.tensor([0.0, 0.0, 500.0], dtype=torch.float64)
    K = intrinsics(size, 2.0)
    about = pose(torch.eye(3, dtype=torch.float64), (0, 0, 500))
    motion = about @ pose(rotation((0.1, 1.0, 0.0), 0.7), (0, 0, 0)) @ torch.linalg.inv(about)
    depth = sphere_depth(centre, radius, K, size, 0.5)
    options = {} if rule == "quad" else {"tol_abs": 8.0, "tol_px": 0.0}
    visible = one_pair(depth, K, depth, K, motion, rule=rule, **options).visible[0, 0]
    rays = torch.cat([(pixel_grid(size, 0.5) - K[:2, 2]) / K[0, 0], torch.ones(*size, 1)], -1)
    in_source = rays * depth[..., None]
    in_target = in_source @ motion[:3, :3].T + motion[:3, 3]
    cosines = [-_cosine(points, points - centre) for points in (in_source, in_target)]
    both_caps = (depth > 0) & (cosines[0] > 0.4) & (cosines[1] > 0.4)
    beyond = (depth > 0) & (cosines[1] < -0.3)
    assert both_caps.sum() > 300
    assert beyond.sum() > 100
    assert visible[both_caps].all()
    assert not visible[beyond].any()


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    return torch.nn.functional.cosine_similarity(a, b, dim=-1)


@given(size=SIZES, size_dst=SIZES)
def test_sizes_are_free(size: tuple[int, int], size_dst: tuple[int, int]) -> None:
    K, K_dst = intrinsics(size), intrinsics(size_dst)
    depth = plane_depth(PLANE, 400.0, K, size, 0.5)
    gt = one_pair(depth, K, torch.full(size_dst, 400.0, dtype=torch.float64), K_dst, identity, tol_abs=1e3)
    assert gt.uv.shape == (1, 1, *size, 2)
    u, v = gt.uv[0, 0].unbind(-1)
    area = (u >= 0) & (u < size_dst[1]) & (v >= 0) & (v < size_dst[0])
    assert torch.equal(gt.visible[0, 0], area)


@given(data=st.data(), patch_size=st.integers(1, 12), strict=st.booleans())
def test_dense_is_the_gather_of_the_compact_form(data: st.DataObject, patch_size: int, strict: bool) -> None:
    gt = random_flow(1, 2)
    dense = to_dense(gt, patch_size, strict=strict)
    num_src, num_dst = dense.flow.shape[2:4]
    assert num_src == (13 // patch_size) * (22 // patch_size)
    assert num_dst == (17 // patch_size) * (12 // patch_size)
    s, q, t = (data.draw(st.integers(0, n - 1)) for n in (2, num_src, num_dst))
    src, dst = torch.full((1, 2, 1), q), torch.full((1, 2, 1), t)
    pair = gather_pairs(gt, src, dst, patch_size, strict=strict)
    for whole, part in zip(dense, pair, strict=True):
        assert torch.equal(whole[0, s, q, t], part[0, s, 0])
    row, column = divmod(q, 22 // patch_size)
    rows, columns = (slice(k * patch_size, (k + 1) * patch_size) for k in (row, column))
    flow = (gt.uv[0, s, rows, columns] - patch_centres(gt.dst_size, patch_size)[t]) / patch_size
    in_front = gt.in_front[0, s, rows, columns, None]
    torch.testing.assert_close(pair.flow[0, s, 0], torch.where(in_front, flow, 0))
