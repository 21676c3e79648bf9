"""Directions of tokens, position codes and rotary ids."""

from __future__ import annotations

import math

import pytest
import torch

from refkp.geometry import sphere
from refkp.systems.panorama.model.position import (
    SphericalPosition,
    fourier_features,
    panorope_ids,
    sees_picture,
    spherical_rope_ids,
    token_directions,
)
from refkp.systems.panorama.model.resampler import cell_boxes
from refkp.systems.panorama.views.layout import ErpLayout
from refkp.systems.panorama.views.rendering import render_views
from tests.systems.panorama.conftest import direction_image


def test_directions_are_what_the_rendered_views_show() -> None:
    """Views of a panorama whose colour is the direction, rendered with one pixel per token."""
    layout = ErpLayout.build(hfov_deg=80.0, overlap=0.4, pitch_min_deg=-60.0, pitch_max_deg=60.0)
    rotation = sphere.random_rotation(2, generator=torch.Generator().manual_seed(0))
    erp = direction_image(256).expand(2, -1, -1, -1)
    views = render_views(erp, layout, 8, world_from_rig=rotation).pixels
    shown = (2 * views - 1).permute(0, 1, 3, 4, 2).flatten(2, 3).double()
    directions = token_directions(layout, cell_boxes((8, 8)), rotation)
    assert directions.shape == (2, layout.num_views, 64, 3)
    torch.testing.assert_close(directions[:, 1:], shown[:, 1:], atol=2e-3, rtol=0)
    inside = sees_picture(layout.views[0], cell_boxes((8, 8)))
    # A pixel of the global view is the mean over 45 x 45 degrees, which is shorter than a direction.
    cosine = torch.nn.functional.cosine_similarity(directions[:, 0, inside], shown[:, 0, inside], dim=-1)
    assert float(cosine.min()) > 0.97


def test_the_rig_turns_the_tiles_and_not_the_global_view() -> None:
    layout, boxes = ErpLayout.build(), cell_boxes((3, 4))
    plain = token_directions(layout, boxes)
    turned = token_directions(layout, boxes, sphere.view_rotation(90.0)[None])[0]
    assert plain.shape == (9, 12, 3)
    torch.testing.assert_close(turned[0], plain[0])
    torch.testing.assert_close(turned[1], plain[3])  # views are 45 degrees apart
    torch.testing.assert_close(plain.norm(dim=-1), torch.ones(9, 12, dtype=torch.float64))


def test_a_token_of_the_whole_view_looks_along_its_axis() -> None:
    layout = ErpLayout.build(pitch_min_deg=-67.5, pitch_max_deg=67.5)
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    axes = torch.stack([tile.forward_xyz for tile in layout.tiles])
    torch.testing.assert_close(token_directions(layout, whole)[1:, 0], axes)


def test_padding_of_the_global_view() -> None:
    """Of 14 rows, 3.5 on either side are padding: the 8 rows with a part of the picture count."""
    view = ErpLayout.build().views[0]
    seen = sees_picture(view, cell_boxes((14, 14))).view(14, 14)
    assert seen.all(1).tolist() == [False] * 3 + [True] * 8 + [False] * 3
    assert seen.any(1).tolist() == seen.all(1).tolist()
    directions = token_directions(ErpLayout.build(), cell_boxes((14, 14)))[0].view(14, 14, 3)
    _, lat = sphere.lonlat_from_direction(directions[:, 0])
    lat = torch.rad2deg(lat)[3:11].tolist()
    step = 180 / 7
    assert lat == pytest.approx([90 - step / 4, *(90 - step * (i + 1) for i in range(6)), -90 + step / 4])


def test_fourier_features() -> None:
    direction = torch.tensor([1.0, 0.0, -0.5])
    features = fourier_features(direction, 2)
    half = math.sqrt(0.5)
    sines = [1.0, 0.0, 0.0, 0.0, -half, -1.0]
    cosines = [0.0, -1.0, 1.0, 1.0, half, 0.0]
    torch.testing.assert_close(features, torch.tensor([*direction, *sines, *cosines]), atol=1e-6, rtol=0)
    assert fourier_features(direction, 0).tolist() == direction.tolist()


def test_the_code_has_no_seam() -> None:
    torch.manual_seed(0)
    code = SphericalPosition(8, 4)
    angle = torch.tensor([math.pi - 1e-4, -math.pi + 1e-4])
    left, right = code(sphere.direction_from_lonlat(angle, torch.zeros(2)))
    torch.testing.assert_close(left, right, atol=1e-2, rtol=0)
    assert float((left - code(torch.tensor([0.0, 0.0, 1.0]))).detach().norm()) > 0.1


@pytest.mark.parametrize("wrap", [True, False])
@pytest.mark.parametrize(("views", "grid", "overlap"), [(8, (3, 4), 0.5), (5, (2, 5), 0.3), (3, (1, 7), 0.0)])
def test_panorope_ids(views: int, grid: tuple[int, int], overlap: float, wrap: bool) -> None:
    height, width = grid
    ids = panorope_ids(views, grid, overlap, wrap=wrap).view(3, views, height, width)
    for view in range(views):
        for row in range(height):
            for column in range(width):
                along = view * (1 - overlap) * width + column
                along = math.fmod(along, views * (1 - overlap) * width) if wrap else along
                assert ids[:, view, row, column].tolist() == [view, row, round(round(along, 4))]


def test_spherical_ids_agree_where_views_overlap() -> None:
    """Tokens of two views that look at one direction share their ids, across the seam too."""
    layout = ErpLayout.from_angles([160.0, -160.0], [0.0, 0.0], hfov_deg=90.0)
    shared = sphere.direction_from_lonlat(torch.tensor([math.pi, -math.pi]), torch.tensor([0.2, 0.2]))
    row, column = spherical_rope_ids(shared, 5.0)
    assert row[0] == row[1] == round((90 - math.degrees(0.2)) / 5)
    assert column.tolist() == [0, 0]
    row, column = spherical_rope_ids(token_directions(layout, cell_boxes((9, 9))), 10.0)
    assert row.shape == (2, 81)
    assert int(column.max()) <= 35
    middle = column[:, 4 * 9 + 4]
    assert middle.tolist() == [34, 2]  # longitudes 160 and -160 in steps of 10 from -180


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"`overlap` must be in \[0,1\)"):
        panorope_ids(4, (2, 2), 1.0)
    with pytest.raises(ValueError, match="`step_deg`"):
        spherical_rope_ids(torch.rand(1, 3), 0.0)
    with pytest.raises(ValueError, match=r"`boxes` must be \[S,4\]"):
        token_directions(ErpLayout.build(), torch.rand(4))
    with pytest.raises(ValueError, match=r"`world_from_rig` must be \[B,3,3\]"):
        token_directions(ErpLayout.build(), cell_boxes((2, 2)), torch.eye(3))
