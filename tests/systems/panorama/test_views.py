"""Rendered views: directions, letterbox, cube faces, errors."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from refkp.geometry import sphere
from refkp.systems.panorama.layout import ErpLayout
from refkp.systems.panorama.views import CUBE_FACES, letterbox, render_cubemap, render_views
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
    erp = torch.randint(0, 256, (1, 3, 32, 64), dtype=torch.uint8)
    torch.testing.assert_close(
        render_views(erp, LAYOUT, 12).pixels,
        render_views(erp.float() / 255, LAYOUT, 12).pixels,
        atol=1e-5,
        rtol=0,
    )


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
