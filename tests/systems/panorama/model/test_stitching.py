"""The order of the sequence and the blend of overlapping tiles."""

from __future__ import annotations

import pytest
import torch

from refkp.geometry import sphere
from refkp.systems.panorama.model.position import token_directions
from refkp.systems.panorama.model.resampler import cell_boxes
from refkp.systems.panorama.model.stitching import blend_grid, stitch_order, stitch_views
from refkp.systems.panorama.views.layout import ErpLayout


@pytest.mark.parametrize(
    ("width", "overlap", "dropped"), [(4, 0.5, 2), (5, 0.5, 2), (7, 0.5, 4), (6, 0.0, 0)]
)
def test_stride_views_drops_columns_of_all_views_but_the_first(
    width: int, overlap: float, dropped: int
) -> None:
    """Half a column is rounded to the even number."""
    order = stitch_order(3, (2, width), "stride_views", overlap)
    want = [
        view * 2 * width + row * width + column
        for row in range(2)
        for view in range(3)
        for column in range(dropped if view else 0, width)
    ]
    assert order.tolist() == want


def test_concat_is_the_panorama_row_by_row() -> None:
    tokens = torch.rand(2, 3, 4, 5, 6)  # B, V, rows, columns, D
    stitched = stitch_views(tokens.flatten(2, 3), (4, 5), "concat")
    torch.testing.assert_close(stitched, tokens.transpose(1, 2).flatten(1, 3))


def test_gradients_reach_the_kept_tokens() -> None:
    tokens = torch.rand(1, 2, 4, 1, requires_grad=True)
    stitch_views(tokens, (2, 2), "stride_views", 0.5).sum().backward()
    assert tokens.grad is not None
    assert tokens.grad.flatten().tolist() == [1, 1, 1, 1, 0, 1, 0, 1]


LAYOUTS = {
    "ring": ErpLayout.build(),
    "rows": ErpLayout.build(hfov_deg=70.0, overlap=0.3, pitch_min_deg=-60.0, pitch_max_deg=60.0),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_blend_covers_what_the_tiles_see_with_weights_that_sum_to_one(name: str) -> None:
    layout = LAYOUTS[name]
    blend = blend_grid(layout, (5, 6), 24)
    everywhere = sphere.erp_directions(24, 48).flatten(0, 1)
    seen = sphere.tile_contains(layout.rotations, layout.half_tangents, everywhere).any(0)
    torch.testing.assert_close(blend.directions, everywhere[seen])
    assert blend.weights.shape == (int(seen.sum()), len(layout.tiles) * 30)
    assert float(blend.weights.min()) >= 0
    torch.testing.assert_close(blend.weights.sum(1), torch.ones(len(blend.weights)))


@pytest.mark.parametrize("name", LAYOUTS)
def test_blended_directions_are_the_directions_of_the_grid(name: str) -> None:
    """Tokens that hold their own direction: the blend interpolates them to that of the grid, also at borders."""
    layout = LAYOUTS[name]
    blend = blend_grid(layout, (12, 12), 30)
    tokens = token_directions(layout, cell_boxes((12, 12)))[1:].flatten(0, 1)
    angle = sphere.great_circle_distance(blend.weights.double() @ tokens, blend.directions)
    spacing = 2 * float(layout.half_tangents[0, 0]) / 12
    assert float(angle.max()) < 0.5 * spacing + 1e-3  # half a token, where the border token stands in
    assert float(angle.mean()) < 0.02


def test_a_tile_fades_to_nothing_at_its_border() -> None:
    """The weight of a tile is continuous where its neighbour takes over."""
    layout = ErpLayout.from_angles([-30.0, 30.0], [0.0, 0.0], hfov_deg=90.0)
    blend = blend_grid(layout, (4, 4), 90)
    lon, lat = sphere.lonlat_from_direction(blend.directions)
    row = (lat - lat.abs().min()).abs() < 1e-6
    of_the_left = blend.weights[row].unflatten(1, (2, 16)).sum(-1)[:, 0]
    order = lon[row].argsort()
    assert float(of_the_left[order].diff().abs().max()) < 0.1
    assert float(of_the_left[order][0]) == 1.0


def test_the_default_grid_has_the_resolution_of_the_tiles() -> None:
    """Two neighbouring tokens in the middle of a tile of 90 degrees and 14 tokens are 8.2 degrees apart."""
    blend = blend_grid(LAYOUTS["ring"], (14, 14))
    lon, lat = sphere.lonlat_from_direction(blend.directions)
    step = torch.rad2deg(lat).unique().diff()
    assert float(step.max()) == pytest.approx(180 / 22)
    assert float(lon.max()) > 3.0


def test_errors() -> None:
    with pytest.raises(ValueError, match="`mode` must be one of 'concat'"):
        stitch_order(2, (2, 2), "drop_overlap")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`overlap`"):
        stitch_order(2, (2, 2), "stride_views", 1.0)
    with pytest.raises(ValueError, match=r"S=6; got \[1,2,4,3\]"):
        stitch_views(torch.rand(1, 2, 4, 3), (2, 3), "concat")
