"""Crops: the map of pixel centres is M, nothing aliases, K and pose stay true."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("hypothesis", reason="needs the extra `dev`")

from hypothesis import given
from hypothesis import strategies as st

from refkp.systems.pose.crops import crop_image, crop_views, mask_box, square_crop
from refkp.systems.pose.views import Views

Box = tuple[int, int, int, int]


def ramp(height: int = 96, width: int = 128) -> Tensor:
    """[2,H,W] float64: x and y of the pixel centres."""
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float64) + 0.5,
        torch.arange(width, dtype=torch.float64) + 0.5,
        indexing="ij",
    )
    return torch.stack((x, y))


def image_points(matrix: Tensor, size: int) -> Tensor:
    """[2,size,size], where the pixel centres of a crop come from."""
    points = torch.cat((ramp(size, size), torch.ones(1, size, size, dtype=torch.float64)))
    return (torch.linalg.inv(matrix) @ points.flatten(1))[:2].view(2, size, size)


@pytest.mark.parametrize("mode", ["area", "bilinear", "nearest"])
@pytest.mark.parametrize("box", [(10, 20, 66, 71), (3, 5, 128, 90), (50, 50, 57, 55), (-20, 30, 140, 80)])
def test_convention_pixel_centres_map_by_the_matrix(box: Box, mode: str) -> None:
    crop = square_crop(box, 37)
    shown, wanted = crop_image(ramp(), crop, mode), image_points(crop.matrix, 37)  # type: ignore[arg-type]
    reach = 1 + 1 / crop.matrix[0, 0].item()
    low, high = np.maximum(box[:2], 0), np.minimum(box[2:], (128, 96))
    inner = torch.ones(37, 37, dtype=torch.bool)
    for axis in range(2):
        inner &= (wanted[axis] > low[axis] + reach) & (wanted[axis] < high[axis] - reach)
    assert inner.any()
    # The nearest pixel's centre is at most half a pixel away.
    torch.testing.assert_close(
        shown[:, inner], wanted[:, inner], rtol=0, atol=(mode == "nearest") * 0.5 + 1e-9
    )


@given(st.integers(-30, 90), st.integers(-30, 60), st.integers(1, 90), st.integers(1, 90), st.integers(1, 70))
def test_the_whole_box_is_shown_as_large_as_it_goes(
    x0: int, y0: int, width: int, height: int, size: int
) -> None:
    crop = square_crop((x0, y0, x0 + width, y0 + height), size)
    corners = torch.tensor([[x0, y0, 1], [x0 + width, y0 + height, 1]], dtype=torch.float64) @ crop.matrix.mT
    sides = corners[1] - corners[0]
    assert sides.max().item() == pytest.approx(size)
    assert corners[0].min().item() >= -1e-6
    assert corners[1].max().item() <= size + 1e-6
    left, right = corners[0, :2], size - corners[1, :2]
    assert ((right - left > -1e-6) & (right - left < 2)).all()  # the smaller half comes first


def test_pad_ratio_leaves_a_border() -> None:
    crop = square_crop((10, 10, 50, 30), 100, pad_ratio=0.125)
    assert crop.matrix[0].tolist() == [2.0, 0.0, 10.0 - 20.0]
    shown = crop_image(torch.ones(1, 60, 60), crop)[0]
    assert shown[:, :10].sum() == 0
    assert (shown[30:70, 10:90] == 1).all()


def test_nothing_outside_the_box_or_the_image_is_shown() -> None:
    crop = square_crop((-4, 2, 4, 6), 16)
    for mode in ("area", "bilinear", "nearest"):
        shown = crop_image(torch.ones(8, 8), crop, mode)  # type: ignore[arg-type]
        wanted = torch.zeros(16, 16)
        wanted[4:12, 8:] = 1
        torch.testing.assert_close(shown, wanted)
    assert crop_image(torch.ones(8, 8), square_crop((20, 0, 24, 4), 4)).sum() == 0


def test_shrinking_does_not_alias() -> None:
    """Stripes finer than the crop's pixels become grey with "area", and remain with "bilinear"."""
    stripes = (torch.arange(130) % 2).float().expand(130, 130)
    crop = square_crop((0, 0, 130, 130), 20)
    inner = (slice(1, -1), slice(1, -1))
    assert crop_image(stripes, crop)[inner].std() < 0.03
    assert crop_image(stripes, crop, "bilinear")[inner].std() > 0.1


def test_errors() -> None:
    with pytest.raises(ValueError, match="x0 < x1"):
        square_crop((5, 0, 5, 9), 8)
    with pytest.raises(ValueError, match="`size` must be positive"):
        square_crop((0, 0, 5, 9), 0)
    with pytest.raises(ValueError, match="`pad_ratio`"):
        square_crop((0, 0, 5, 9), 8, pad_ratio=-1)
    with pytest.raises(ValueError, match="empty mask"):
        mask_box(torch.zeros(4, 4, dtype=torch.bool))
    crop = square_crop((0, 0, 4, 4), 8)
    with pytest.raises(ValueError, match="must be floating"):
        crop_image(torch.zeros(4, 4, dtype=torch.uint8), crop)
    with pytest.raises(ValueError, match="`mode` must be one of"):
        crop_image(torch.zeros(4, 4), crop, "cubic")  # type: ignore[arg-type]


def picture(depth: Tensor | None, mask: Tensor) -> Views:
    rgb = torch.full((3, 40, 40), 255, dtype=torch.uint8)
    rgb[:, mask] = 51
    K = torch.tensor([[60.0, 0, 20], [0, 60, 20], [0, 0, 1]])
    return crop_views(rgb, mask, depth, K, torch.eye(4), mask_box(mask), 32)


def test_views_hold_the_object_alone() -> None:
    mask = torch.zeros(40, 40, dtype=torch.bool)
    mask[10:23, 8:17] = True
    mask[12, 9] = False
    depth = torch.full((40, 40), 500.0)
    depth[14, 10], depth[15, 10], depth[16, 10] = math.nan, -1, math.inf
    views = picture(depth, mask)
    torch.testing.assert_close(views.images[:, views.masks], torch.full((3, int(views.masks.sum())), 0.2))
    assert (views.images[:, ~views.masks] == 0).all()
    assert (views.depth[~views.masks] == 0).all()
    assert set(views.depth.unique().tolist()) == {0.0, 500.0}
    assert views.K.dtype == views.cam_from_obj.dtype == torch.float64
    crop = square_crop(mask_box(mask), 32)
    expected = crop.matrix @ torch.tensor([[60.0, 0, 20], [0, 60, 20], [0, 0, 1]], dtype=torch.float64)
    torch.testing.assert_close(views.K, expected)
    assert (picture(None, mask).depth == 0).all()


def test_a_line_that_no_new_pixel_centre_meets_is_an_empty_view() -> None:
    mask = torch.zeros(460, 460, dtype=torch.bool)
    mask[:, 228] = True
    views = crop_views(torch.ones(3, 460, 460), mask, None, torch.eye(3), torch.eye(4), (0, 0, 460, 460), 64)
    assert not views.masks.any()
    assert not views.images.any()


def test_views_need_the_object_in_the_box() -> None:
    mask = torch.zeros(40, 40, dtype=torch.bool)
    mask[1, 1] = True
    with pytest.raises(ValueError, match="none within"):
        crop_views(torch.zeros(3, 40, 40), mask, None, torch.eye(3), torch.eye(4), (10, 10, 20, 20), 8)
    with pytest.raises(ValueError, match="`rgb` must be"):
        crop_views(torch.zeros(3, 4, 4), mask, None, torch.eye(3), torch.eye(4), (0, 0, 20, 20), 8)
    with pytest.raises(ValueError, match="`depth` must be"):
        crop_views(
            torch.zeros(3, 40, 40), mask, torch.ones(2, 2), torch.eye(3), torch.eye(4), (0, 0, 20, 20), 8
        )
