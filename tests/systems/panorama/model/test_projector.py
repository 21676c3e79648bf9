"""From view tokens to the sequence of the language model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from refkp.geometry import sphere
from refkp.systems.panorama.model.projector import PanoramaProjector, ProjectorSpec
from refkp.systems.panorama.model.resampler import ViewTokens, cell_boxes
from refkp.systems.panorama.model.resampler.tokens import whole_view_boxes
from refkp.systems.panorama.views.layout import ErpLayout

RING = ErpLayout.build()
TWO_ROWS = ErpLayout.build(pitch_min_deg=-67.5, pitch_max_deg=67.5)
EYE = torch.eye(3).expand(2, 3, 3)


def view_tokens(layout: ErpLayout = RING, grid: tuple[int, int] = (14, 14), dim: int = 6) -> ViewTokens:
    count = grid[0] * grid[1]
    tokens = torch.rand(2, layout.num_views, count, dim, generator=torch.Generator().manual_seed(0))
    return ViewTokens(tokens, cell_boxes(grid), grid)


def projector(**options: Any) -> PanoramaProjector:
    torch.manual_seed(0)
    return PanoramaProjector(ProjectorSpec(**options), 6, 5)


@pytest.mark.parametrize(
    ("options", "length"),
    [
        ({"drop_padding": False}, 9 * 196),
        ({}, 8 * 14 + 8 * 196),  # 6 of the 14 rows of the global view are padding
        ({"stitching": "concat", "drop_padding": False}, 9 * 196),
        ({"stitching": "stride_views", "overlap": 0.5, "drop_padding": False}, 196 + 14 * (14 + 7 * 7)),
    ],
)
def test_lengths_of_the_default_layout(options: dict[str, Any], length: int) -> None:
    assert projector(**options)(view_tokens(), RING, EYE).shape == (2, length, 5)


@pytest.mark.parametrize("stitching", ["views", "concat", "resample"])
def test_the_global_view_comes_first_in_every_stitching(stitching: str) -> None:
    module = projector(stitching=stitching, position="none", drop_padding=False)
    views = view_tokens(grid=(4, 4))
    out = module(views, RING, EYE)
    torch.testing.assert_close(out[:, :16], module.linear(views.tokens[:, 0]))


def test_views_keep_their_order() -> None:
    module = projector(position="none")
    layout = ErpLayout.build(global_view=False)
    views = view_tokens(layout, (2, 3))
    torch.testing.assert_close(module(views, layout, EYE), module.linear(views.tokens.flatten(1, 2)))


def test_padding_has_no_influence() -> None:
    views = view_tokens(grid=(8, 8))
    other = views.tokens.clone()
    other[:, 0].view(2, 8, 8, 6)[:, [0, 1, 6, 7]] = 9.0
    changed = views._replace(tokens=other)
    drop, keep = projector(), projector(drop_padding=False)
    torch.testing.assert_close(drop(views, RING, EYE), drop(changed, RING, EYE))
    assert not torch.allclose(keep(views, RING, EYE), keep(changed, RING, EYE))


@pytest.mark.parametrize("stitching", ["views", "resample"])
def test_the_position_code_follows_the_rig(stitching: str) -> None:
    """A turn of the rig changes the codes of the tiles alone, and without a code nothing."""
    views, turned = view_tokens(grid=(4, 4)), sphere.view_rotation(50.0, 20.0).float().expand(2, 3, 3)
    plain = projector(stitching=stitching, position="none")
    torch.testing.assert_close(plain(views, RING, EYE), plain(views, RING, turned))
    coded = projector(stitching=stitching)
    before, after = coded(views, RING, EYE), coded(views, RING, turned)
    torch.testing.assert_close(before[:, :8], after[:, :8])
    assert float((before - after)[:, 8:].detach().abs().amax(-1).min()) > 1e-4


def test_tokens_at_one_direction_get_one_code() -> None:
    """The right half of a view and the left half of the next one are shifted copies at opposite columns."""
    layout = ErpLayout.from_angles([0.0, 90.0], [0.0, 0.0], hfov_deg=90.0)
    views = ViewTokens(torch.zeros(2, 2, 6, 6), cell_boxes((2, 3)), (2, 3))
    turned = sphere.view_rotation(90.0).float().expand(2, 3, 3)
    coded = projector()
    straight, quarter = coded(views, layout, EYE), coded(views, layout, turned)
    torch.testing.assert_close(straight[:, 6:], quarter[:, :6], atol=1e-5, rtol=0)


def test_latents_are_projected_view_after_view() -> None:
    views = ViewTokens(torch.rand(2, 9, 5, 6), whole_view_boxes(5), None)
    assert projector()(views, RING, EYE).shape == (2, 45, 5)
    with pytest.raises(ValueError, match="a grid for 'concat'; got latents"):
        projector(stitching="concat")(views, RING, EYE)


@pytest.mark.parametrize("stitching", ["views", "concat", "stride_views", "resample"])
def test_gradients(stitching: str) -> None:
    module = projector(stitching=stitching, overlap=0.5 if stitching == "stride_views" else None)
    views = view_tokens(grid=(4, 4))
    views.tokens.requires_grad_()
    module(views, RING, EYE).square().sum().backward()
    assert views.tokens.grad is not None
    assert [name for name, parameter in module.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("stitching", ["views", "concat", "stride_views", "resample"])
def test_another_device(stitching: str) -> None:
    """The meta device stands for any: nothing of the layout stays behind."""
    module = projector(stitching=stitching, overlap=0.5 if stitching == "stride_views" else None).to("meta")
    views = view_tokens(grid=(4, 4))
    out = module(views._replace(tokens=views.tokens.to("meta")), RING, EYE.to("meta"))
    assert out.device.type == "meta"


def test_errors() -> None:
    with pytest.raises(ValueError, match="V=9"):
        projector()(view_tokens(TWO_ROWS, (2, 2)), RING, EYE)
    with pytest.raises(ValueError, match="one pitch row for 'stride_views'; got 2 rows"):
        projector(stitching="stride_views", overlap=0.5)(view_tokens(TWO_ROWS, (2, 2)), TWO_ROWS, EYE)
    with pytest.raises(ValueError, match="`overlap` must be given for 'stride_views'"):
        ProjectorSpec(stitching="stride_views")
    with pytest.raises(ValueError, match=r"and for nothing else; got 0\.5 with 'views'"):
        ProjectorSpec(overlap=0.5)
    with pytest.raises(ValueError, match="`resample_height` must be at least 1, for 'resample' alone"):
        ProjectorSpec(resample_height=8)
    with pytest.raises(ValueError, match="`stitching` must be one of"):
        ProjectorSpec(stitching="drop_overlap")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`num_frequencies`"):
        replace(ProjectorSpec(), num_frequencies=-1)
