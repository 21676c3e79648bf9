"""Changes of colour against Pillow's, whose factors the limits are written in."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from refkp.systems.pose.data import augmentation
from refkp.systems.pose.data.augmentation import Change, QueryAugmentation, augment_query

PICTURE = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 20, 30)).astype(np.uint8))


@pytest.mark.parametrize(
    ("name", "enhancer"),
    [("sharpness", "Sharpness"), ("contrast", "Contrast"), ("brightness", "Brightness"), ("colour", "Color")],
)
@pytest.mark.parametrize("factor", [0.0, 0.4, 1.0, 3.0])
def test_factors_mean_what_they_mean_in_pillow(name: str, enhancer: str, factor: float) -> None:
    image, enhance = pytest.importorskip("PIL.Image"), pytest.importorskip("PIL.ImageEnhance")
    picture = image.fromarray(PICTURE.permute(1, 2, 0).numpy())
    want = torch.from_numpy(np.array(getattr(enhance, enhancer)(picture).enhance(factor))).permute(2, 0, 1)
    got = 255 * getattr(augmentation, name)(PICTURE / 255, factor).clamp(0, 1)
    inner = (slice(None), slice(1, -1), slice(1, -1))  # Pillow leaves the border unsmoothed
    torch.testing.assert_close(got[inner], want[inner].float(), rtol=0, atol=1.0 + factor)


def test_blur_keeps_evenness_and_spreads_a_point() -> None:
    torch.testing.assert_close(
        augmentation.blur(torch.full((3, 9, 12), 0.3), 2.0), torch.full((3, 9, 12), 0.3)
    )
    point = torch.zeros(3, 31, 31)
    point[:, 15, 15] = 1
    spread = augmentation.blur(point, 2.0)[0]
    offset = torch.arange(31) - 15.0
    assert float(spread.sum()) == pytest.approx(1)
    assert float((spread.sum(0) * offset**2).sum()) == pytest.approx(4, rel=0.05)
    torch.testing.assert_close(spread, spread.T)


def test_the_generator_decides_and_probability_zero_changes_nothing() -> None:
    picture = PICTURE / 255
    results = [
        augment_query(picture, QueryAugmentation(1.0), torch.Generator().manual_seed(k)) for k in (3, 3, 4)
    ]
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
    assert all(float(result.min()) >= 0 and float(result.max()) <= 1 for result in results)
    assert augment_query(picture, QueryAugmentation(0.0), torch.Generator()) is picture


def test_limits_are_checked() -> None:
    with pytest.raises(ValueError, match="`blur` must be a probability"):
        QueryAugmentation(blur=Change(1.2, 1, 3))
    with pytest.raises(ValueError, match="`probability` must be in"):
        QueryAugmentation(probability=-0.1)
