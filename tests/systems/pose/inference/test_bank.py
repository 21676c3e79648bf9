"""Banks of template features, and the cache that keeps the recently used ones within its budget."""

from __future__ import annotations

import pytest
import torch

from refkp.systems.pose.inference.bank import FeatureCache, TemplateBank, build_bank
from refkp.systems.pose.model.vpog import Vpog
from refkp.systems.pose.views import Views
from tests.systems.pose.inference.small import random_views, small_model


def bank(num_bytes: int) -> TemplateBank:
    """A bank of exactly that many bytes."""
    empty = torch.empty(0)
    return TemplateBank(torch.empty(num_bytes, dtype=torch.uint8), empty, empty, empty)


@pytest.fixture(scope="module")
def model() -> Vpog:
    return small_model()


@pytest.fixture(scope="module")
def views(model: Vpog) -> Views:
    return random_views(model, 5)


def test_a_bank_holds_the_features_of_every_template(model: Vpog, views: Views) -> None:
    built = build_bank(model, views, chunk=2)
    with torch.inference_mode():
        want = model.encode(views.images)
    assert built.features.dtype == torch.float16
    torch.testing.assert_close(built.features.float(), want, atol=2e-3, rtol=2e-3)
    torch.testing.assert_close(build_bank(model, views, dtype=torch.float32).features, want)


def test_a_bank_keeps_no_pictures(model: Vpog, views: Views) -> None:
    built = build_bank(model, views)
    height, width = views.size
    pixels = 5 * height * width * 4
    poses = 5 * (9 + 16) * 8
    assert built.num_bytes == built.features.numel() * 2 + pixels + poses


def test_depth_off_the_mask_is_dropped(model: Vpog, views: Views) -> None:
    masks = views.masks.clone()
    masks[0, :3] = False
    built = build_bank(model, views._replace(masks=masks))
    assert not bool(built.depth[0, :3].any())
    assert torch.equal(built.depth[1:], views.depth[1:])


def test_selecting_templates(model: Vpog, views: Views) -> None:
    built = build_bank(model, views)
    some = built.select(torch.tensor([3, 1]))
    assert some.num_templates == 2
    assert torch.equal(some.features[0], built.features[3])
    assert torch.equal(some.cam_from_obj[1], built.cam_from_obj[1])


def test_no_template_and_bad_poses_are_errors(model: Vpog, views: Views) -> None:
    with pytest.raises(ValueError, match="S >= 1"):
        build_bank(model, views.select(slice(0, 0)))
    poses = views.cam_from_obj.clone()
    poses[2, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="cam_from_obj"):
        build_bank(model, views._replace(cam_from_obj=poses))


def test_the_least_recently_used_bank_goes_first() -> None:
    cache = FeatureCache(100)
    for obj_id in (1, 2, 3):
        cache.get(obj_id, lambda: bank(30))
    cache.get(1, lambda: pytest.fail("object 1 is kept"))  # its use makes it the most recent one
    assert cache.keys == [2, 3, 1]
    cache.get(4, lambda: bank(30))
    assert cache.keys == [3, 1, 4]  # first in, first out would have dropped 1
    cache.get(5, lambda: bank(90))
    assert cache.keys == [5]


def test_the_budget_is_never_exceeded() -> None:
    cache = FeatureCache(100)
    generator = torch.Generator().manual_seed(0)
    for size in torch.randint(1, 101, (200,), generator=generator).tolist():
        cache.get(size, lambda size=size: bank(size))  # type: ignore[misc]
        assert size in cache.keys
        assert cache.num_bytes <= 100
    assert cache.num_bytes == sum(cache.keys)


def test_a_bank_larger_than_the_budget_is_an_error_and_drops_nothing() -> None:
    cache = FeatureCache(100)
    cache.get(1, lambda: bank(60))
    with pytest.raises(ValueError, match="Object 2 alone"):
        cache.get(2, lambda: bank(101))
    assert cache.keys == [1]
    with pytest.raises(ValueError, match="byte_budget"):
        FeatureCache(0)


def test_an_object_is_built_once() -> None:
    cache, built = FeatureCache(100), []

    def build() -> TemplateBank:
        built.append(1)
        return bank(10)

    assert cache.get(7, build) is cache.get(7, build)
    assert len(built) == 1
