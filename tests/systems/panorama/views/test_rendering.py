"""Rendered views: directions, letterbox, cube faces, errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from refkp.geometry import sphere
from refkp.nn.pixels import IMAGENET, PixelStatistics, normalise
from refkp.systems.panorama.views.crops import crop_layout
from refkp.systems.panorama.views.cubemap import CUBE_FACES, render_cubemap
from refkp.systems.panorama.views.layout import ErpLayout
from refkp.systems.panorama.views.rendering import letterbox, render_views
from refkp.systems.panorama.views.spec import CropSpec
from tests.systems.panorama.conftest import direction_image

LAYOUT = ErpLayout.build()


def _shown(pixels: torch.Tensor) -> torch.Tensor:
    """The directions [...,h,w,3] that views [...,3,h,w] of the direction image show."""
    return functional.normalize(2 * pixels.movedim(-3, -1).double() - 1, dim=-1)


def test_tiles_show_the_directions_of_the_layout() -> None:
    views = render_views(direction_image(256), LAYOUT, 24)
    ray = sphere.tangent_grid(24, 24, LAYOUT.half_tangents)
    want = torch.einsum("nij,nhwj->nhwi", LAYOUT.rotations, ray)
    angle = sphere.great_circle_distance(_shown(views.pixels[0, 1:]), want)
    assert float(torch.rad2deg(angle).max()) < 0.1


def test_a_rig_rotation_turns_every_tile() -> None:
    turn = sphere.view_rotation(torch.tensor([0.0, 45.0]))
    views = render_views(direction_image(64).expand(2, -1, -1, -1), LAYOUT, 16, world_from_rig=turn)
    torch.testing.assert_close(views.pixels[1, 1], views.pixels[0, 2], atol=1e-5, rtol=0)
    torch.testing.assert_close(views.pixels[1, 0], views.pixels[0, 0])  # the global view keeps its frame


def test_a_batch_equals_its_samples() -> None:
    erp = torch.randint(0, 256, (3, 3, 32, 64), dtype=torch.uint8)
    batch = render_views(erp, LAYOUT, 12).pixels
    for index in range(3):
        torch.testing.assert_close(render_views(erp[index : index + 1], LAYOUT, 12).pixels[0], batch[index])


def test_bytes_and_floats_agree() -> None:
    """Tiles are not rounded; the letterbox of bytes is, after each of its two passes."""
    erp = torch.randint(0, 256, (1, 3, 32, 64), dtype=torch.uint8)
    of_bytes, of_floats = (render_views(image, LAYOUT, 12).pixels for image in (erp, erp.float() / 255))
    torch.testing.assert_close(of_bytes[:, 1:], of_floats[:, 1:], atol=1e-5, rtol=0)
    torch.testing.assert_close(of_bytes[:, 0], of_floats[:, 0], atol=1.2 / 255, rtol=0)


def test_gradients_reach_every_kind_of_view() -> None:
    for strategy in ("anyres", "anyres_e2p"):
        erp = torch.rand(1, 3, 16, 32, requires_grad=True)
        layout = crop_layout(CropSpec(strategy), (16, 32), 8)
        (gradient,) = torch.autograd.grad(render_views(erp, layout, 8).pixels.square().sum(), erp)
        assert bool((gradient.abs().sum(1) > 0).all())


def test_letterbox_fills_the_middle_half() -> None:
    view = letterbox(torch.ones(1, 3, 32, 64), 16)
    torch.testing.assert_close(view[0, 0, 4:12], torch.ones(8, 16))
    assert float(view[0, 0, :4].abs().max()) == float(view[0, 0, 12:].abs().max()) == 0


def test_tiles_may_differ_in_field_of_view() -> None:
    wide, narrow = (ErpLayout.from_angles([0.0], [0.0], hfov_deg=fov) for fov in (90.0, 40.0))
    (tile,) = narrow.tiles
    both = ErpLayout((*wide.tiles, tile.__class__(**{**tile.__dict__, "view_index": 1, "tile_id": 1})))
    erp = direction_image(32).float()
    views = render_views(erp, both, 8).pixels[0]
    torch.testing.assert_close(views[0], render_views(erp, wide, 8).pixels[0, 0])
    torch.testing.assert_close(views[1], render_views(erp, narrow, 8).pixels[0, 0])


def test_convention_cube_faces() -> None:
    """Centres look along the axes; forward is at the bottom of U and the top of D; R is right of F."""
    faces = dict(zip(CUBE_FACES, _shown(render_cubemap(direction_image(128), 9)[0]), strict=True))
    axes = {"F": (0, 0, 1), "R": (1, 0, 0), "B": (0, 0, -1), "L": (-1, 0, 0), "U": (0, 1, 0), "D": (0, -1, 0)}
    for name, axis in axes.items():
        assert faces[name][4, 4].tolist() == pytest.approx(axis, abs=0.01)
    assert float(faces["U"][-1, 4, 2]) > 0.5
    assert float(faces["D"][0, 4, 2]) > 0.5
    assert float(faces["F"][4, -1, 0]) > 0.5
    assert float(faces["R"][4, 0, 2]) > 0.5


@pytest.mark.parametrize(("height", "width"), [(32, 64), (48, 64), (64, 48), (30, 100)])
def test_letterbox_of_any_aspect(height: int, width: int) -> None:
    """Against Pillow: the longer side fills the square, the picture is in its middle."""
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    scale = 20 / max(height, width)
    rows, columns = round(height * scale), round(width * scale)
    want = np.zeros((20, 20, 3), np.uint8)
    top, left = (20 - rows) // 2, (20 - columns) // 2
    resized = image.fromarray(pixels).resize((columns, rows), image.Resampling.BICUBIC)
    want[top : top + rows, left : left + columns] = np.array(resized)
    erp = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    for source in (erp, erp.float() / 255):
        got = 255 * letterbox(source, 20)[0].permute(1, 2, 0)
        assert float((got - torch.from_numpy(want)).abs().max()) <= 1.6


def test_letterbox_in_two_steps() -> None:
    erp = torch.rand(1, 3, 32, 64)
    want = functional.interpolate(letterbox(erp, 24), size=(16, 16), mode="bilinear", align_corners=False)
    torch.testing.assert_close(letterbox(erp, 16, base_size=24), want)
    torch.testing.assert_close(letterbox(erp, 16, base_size=16), letterbox(erp, 16))


def test_crops_follow_a_turn_about_the_vertical() -> None:
    layout = crop_layout(CropSpec("sliding_window"), (32, 64), 8)
    erp = torch.rand(2, 3, 32, 64)
    turn = sphere.view_rotation(torch.tensor([0.0, 90.0]))
    turned = render_views(erp, layout, 8, world_from_rig=turn).pixels
    still = render_views(erp, layout, 8).pixels
    torch.testing.assert_close(turned[0], still[0])
    torch.testing.assert_close(turned[1], still[1].roll(-2, 0))  # windows are 45 degrees apart
    with pytest.raises(ValueError, match="about the vertical"):
        render_views(erp, layout, 8, world_from_rig=sphere.view_rotation(torch.tensor([0.0, 0.0]), 20.0))


def test_normalise() -> None:
    views = render_views(torch.rand(1, 3, 8, 16), LAYOUT, 4)
    done = views.normalised(IMAGENET)
    assert done.statistics == IMAGENET
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET.mean, IMAGENET.std))
    torch.testing.assert_close(done.pixels, (views.pixels - mean) / std)
    with pytest.raises(ValueError, match=r"in \[0,1\]"):
        done.normalised(IMAGENET)
    with pytest.raises(ValueError, match="imagenet, clip, siglip"):
        PixelStatistics.named("dino")
    with pytest.raises(ValueError, match="positive"):
        PixelStatistics((0.5, 0.5, 0.5), (0.5, 0.0, 0.5))
    with pytest.raises(ValueError, match="Divide bytes"):
        normalise(torch.zeros(3, 2, 2, dtype=torch.uint8), IMAGENET)


@pytest.mark.parametrize(
    ("shape", "size", "message"),
    [
        ((1, 3, 32, 48), 16, "twice as wide as high"),
        ((3, 32, 64), 16, r"\[B,3,H,W\]"),
        ((1, 3, 32, 64), 0, "`size` must be at least 1"),
    ],
)
def test_errors(shape: tuple[int, ...], size: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        render_views(torch.zeros(shape), LAYOUT, size)
    with pytest.raises(ValueError, match="world_from_rig"):
        render_views(torch.zeros(2, 3, 8, 16), LAYOUT, 4, world_from_rig=torch.eye(3)[None])
