"""The patch forms of a compact flow: pairs, labels, the dense tensor."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from refkp.ops.flow_gt import (
    FlowGT,
    flow_gt,
    gather_pairs,
    matcher_source_depth,
    patch_centres,
    patch_grid,
    patch_labels,
    to_dense,
)
from tests.support.flow_scenes import intrinsics, plane_depth, random_scene

VISIBLE = 31


def random_flow(
    batch: int = 2, targets: int = 3, size: Any = (13, 22), size_dst: Any = (17, 12), **options: Any
) -> FlowGT:
    return flow_gt(**random_scene(batch, targets, size, size_dst), tol_abs=15.0, **options)


def shifted(
    shift: tuple[float, float], size: tuple[int, int] = (32, 48), pixel_offset: float = 0.5
) -> FlowGT:
    """Each pixel lands `shift` pixels further, and is visible if that is inside."""
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in size), indexing="ij")
    uv = torch.stack([x + shift[0], y + shift[1]], -1) + pixel_offset
    edge = uv - pixel_offset + 0.5
    inside = ((edge >= 0) & (edge < torch.tensor([size[1], size[0]]))).all(-1)
    flags = torch.where(inside, VISIBLE, 3).to(torch.uint8)
    return FlowGT(uv[None, None], flags[None, None], size, pixel_offset)


def test_flow_is_target_location_minus_target_centre() -> None:
    gt = shifted((3.0, -2.0))
    pair = gather_pairs(
        gt, torch.tensor([[[4]]]), torch.tensor([[[1]]]), 16
    )  # patch (1, 1) seen from patch (0, 1)
    # Pixel (a, b) of patch (1, 1) is at (16 + b + 0.5, 16 + a + 0.5); patch (0, 1) has its centre at (24, 8).
    assert pair.flow[0, 0, 0, 5, 7].tolist() == [(16 + 7.5 + 3 - 24) / 16, (16 + 5.5 - 2 - 8) / 16]
    assert (pair.direction, pair.origin) == ("source pixel -> target location", "centre of the target patch")


def test_window_min_visible_and_confidence() -> None:
    gt = shifted((0.0, 0.0))
    far = gather_pairs(gt, torch.tensor([[[0]]]), torch.tensor([[[2]]]), 16)  # two patches to the right
    distance = far.flow.norm(dim=-1)
    assert torch.equal(far.unseen, distance >= 2.0)
    assert far.unseen.any()
    assert not far.unseen.all()
    torch.testing.assert_close(far.confidence, torch.where(far.unseen, 0.0, torch.exp(-distance)))
    lenient = gather_pairs(gt, torch.tensor([[[0]]]), torch.tensor([[[2]]]), 16, strict=False)
    torch.testing.assert_close(lenient.confidence, torch.exp(-distance))
    seen = int((~far.unseen).sum())
    index = torch.tensor([[[0]]])
    assert not gather_pairs(gt, index, index + 2, 16, min_visible=seen).unseen.all()
    too_few = gather_pairs(gt, index, index + 2, 16, min_visible=seen + 1, strict=False)
    assert too_few.unseen.all()
    assert not too_few.confidence.any()


def test_confidence_outside_strict_mode_survives_a_mask_but_not_an_occlusion() -> None:
    gt = shifted((0.0, 0.0))
    flags = gt.flags.clone()
    flags[0, 0, 0, 0] = VISIBLE - 8  # only the target mask fails
    flags[0, 0, 0, 1] = VISIBLE - 16  # occluded
    gt, index = gt._replace(flags=flags), torch.zeros(1, 1, 1, dtype=torch.int64)
    lenient, strict = (gather_pairs(gt, index, index, 16, strict=strict) for strict in (False, True))
    assert lenient.unseen[0, 0, 0, 0, :3].tolist() == [True, True, False]
    assert (lenient.confidence[0, 0, 0, 0, :3] > 0).tolist() == [True, False, True]
    assert (strict.confidence[0, 0, 0, 0, :3] > 0).tolist() == [False, False, True]


def test_indices_outside_the_grid_are_pairs_without_a_patch() -> None:
    gt = shifted((0.0, 0.0))
    pair = gather_pairs(gt, torch.tensor([[[-1, 6, 0, 0]]]), torch.tensor([[[0, 0, -1, 6]]]), 16)
    assert pair.unseen.all()
    assert not pair.flow.any()
    assert not pair.confidence.any()


def test_training_flow_of_partners_points_from_query_centres_to_query_pixels() -> None:
    """Spec pose 3.5: flow template -> query, gathered at the partner template patch of each query patch."""
    size = (32, 48)
    K = intrinsics(size)
    depth = plane_depth(torch.tensor([0.0, 0.0, 1.0]).double(), 400.0, K, size, 0.5)
    motion = torch.eye(4, dtype=torch.float64)
    motion[0, 3] = 5.0 * 400 / float(K[0, 0])  # the template sees everything 5 px further right
    query_to_template = flow_gt(depth[None], K[None], depth[None, None], K[None, None], motion[None, None])
    back = torch.linalg.inv(motion)[None, None]
    template_to_query = flow_gt(depth[None], K[None], depth[None, None], K[None, None], back)
    labels = patch_labels(query_to_template, 16).flatten(2)
    pair = gather_pairs(template_to_query, labels, torch.arange(6), 16)
    centres = patch_centres(size, 16)
    for patch, partner in enumerate(labels[0, 0].tolist()):
        row, column = divmod(partner, 3)
        template_pixel = torch.tensor([column * 16 + 3.5, row * 16 + 9.5], dtype=torch.float64)
        query_point = centres[patch] + 16 * pair.flow[0, 0, patch, 9, 3]
        torch.testing.assert_close(
            query_point, template_pixel - torch.tensor([5.0, 0.0], dtype=torch.float64)
        )


@pytest.mark.parametrize("pixel_offset", [0.0, 0.5])
def test_labels_are_the_patches_under_the_centre_pixels(pixel_offset: float) -> None:
    labels = patch_labels(shifted((10.0, -10.0), pixel_offset=pixel_offset), 16)
    assert labels[0, 0].tolist() == [
        [6, 6, 6],
        [1, 2, 6],
    ]  # up is outside; the last column leaves on the right
    flags = torch.full((1, 1, 32, 48), VISIBLE, dtype=torch.uint8)
    flags[0, 0, 8, 8], flags[0, 0, 24, 24] = 0, VISIBLE - 16
    gt = shifted((0.0, 0.0), pixel_offset=pixel_offset)._replace(flags=flags)
    assert patch_labels(gt, 16)[0, 0].tolist() == [[-1, 1, 2], [3, 6, 5]]


def test_labels_clamp_the_half_pixel_left_of_the_grid_with_integer_centres() -> None:
    gt = shifted((-8.3, -8.3), pixel_offset=0.0)
    assert patch_labels(gt, 16)[0, 0, 0, 0] == 0  # lands at (-0.3, -0.3), inside pixel 0


def test_labels_in_the_remainder_of_the_target_are_unseen() -> None:
    gt = shifted((0.0, 0.0), size=(20, 36))
    assert patch_grid((20, 36), 16) == (1, 2)
    assert patch_labels(gt, 16)[0, 0].tolist() == [[0, 1]]
    right = gt._replace(uv=gt.uv + torch.tensor([10.0, 0.0], dtype=torch.float64))
    assert patch_labels(right, 16)[0, 0].tolist() == [[1, 2]]


def test_votes_take_the_majority_of_visible_pixels() -> None:
    gt = shifted((6.0, 0.0))  # of 16 columns 10 stay in their patch; the centre pixel does too
    flags = gt.flags.clone()
    flags[0, 0, :, :9] = 0  # in the first patch only 1 column stays, 6 move on
    flags[0, 0, :16, 32:] = VISIBLE - 16  # one patch occluded as a whole
    gt = gt._replace(flags=flags)
    assert patch_labels(gt, 16)[0, 0].tolist() == [[-1, 1, 6], [-1, 4, 5]]
    assert patch_labels(gt, 16, vote=True)[0, 0].tolist() == [[1, 1, 6], [4, 4, 5]]
    gone = gt._replace(flags=torch.zeros_like(flags))
    assert (patch_labels(gone, 16, vote=True) == -1).all()


def test_mutual_labels_need_the_way_back() -> None:
    gt = shifted((0.0, 0.0))
    near, far = shifted((10.0, 0.0)), shifted((20.0, 0.0))
    assert patch_labels(gt, 16, reverse=near)[0, 0].tolist() == [
        [0, 1, 6],
        [3, 4, 6],
    ]  # 42.5 px + 10 is outside
    assert (patch_labels(gt, 16, reverse=far) == 6).all()
    hidden = near._replace(flags=near.flags & 15)
    assert (patch_labels(gt, 16, reverse=hidden) == 6).all()
    with pytest.raises(
        ValueError, match=r"`reverse` must be the flow \[6, 1, 17, 12, 2\] back to the source"
    ):
        patch_labels(random_flow(), 4, reverse=near)


def test_patch_errors() -> None:
    gt = random_flow()
    index = torch.zeros(2, 3, 1, dtype=torch.int64)
    with pytest.raises(ValueError, match="`patch_size` must be between 1 and the image size"):
        patch_labels(gt, 14)
    with pytest.raises(ValueError, match="`patch_size`"):
        patch_centres((8, 8), 0)
    with pytest.raises(ValueError, match="`dst_patch` must be of dtype int64; got float32"):
        gather_pairs(gt, index, index.float(), 4)
    for bad in (index[0], index[:1], torch.zeros(2, 3, dtype=torch.int64)[:, :2], index[0, 0, 0]):
        with pytest.raises(ValueError, match=r"`src_patch` must be \[B,S,...\] with B=2, S=3"):
            gather_pairs(gt, bad, bad, 4)
    with pytest.raises(
        ValueError, match=r"`gt` must be small enough for 1000 bytes; got .* bytes. Use `gather_pairs`"
    ):
        to_dense(gt, 4, max_bytes=1000)
    with pytest.raises(ValueError, match=r"`depth` must be \[B,H,W\]"):
        matcher_source_depth(torch.zeros(3, 4))


def test_normalised_spans_the_image() -> None:
    for offset in (0.0, 0.5):
        corner = torch.tensor([[offset - 0.5, offset - 0.5], [48 + offset - 0.5, 32 + offset - 0.5]]).view(
            1, 1, 1, 2, 2
        )
        gt = FlowGT(corner, torch.zeros(1, 1, 1, 2, dtype=torch.uint8), (32, 48), offset)
        assert gt.normalised().flatten().tolist() == [-1, -1, 1, 1]
    depth = torch.rand(2, 5, 7)
    torch.testing.assert_close(matcher_source_depth(depth), depth, rtol=1e-5, atol=1e-5)
