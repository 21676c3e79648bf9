"""Selection: the nearest view, its neighbours, and views of other sides."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

pytest.importorskip("hypothesis", reason="needs the extra `dev`")

from hypothesis import given
from hypothesis import strategies as st

from refkp.geometry.icosphere import cam_from_obj, icosphere_views
from refkp.geometry.rotations import axis_angle_to_matrix, quaternion_to_matrix
from refkp.systems.pose.templates.selection import (
    Selection,
    inplane_angle_deg,
    rotation_angles_deg,
    select_templates,
    view_angles_deg,
    view_directions,
)

VIEWS = icosphere_views(1)
TEMPLATES = cam_from_obj(VIEWS)[:, :3, :3]


def random_rotations(count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return quaternion_to_matrix(torch.randn(count, 4, dtype=torch.float64, generator=generator))


def rotation_z(angle_deg: float) -> Tensor:
    return axis_angle_to_matrix(torch.tensor([0.0, 0.0, math.radians(angle_deg)], dtype=torch.float64))


def select(queries: Tensor, seed: int = 0, **options: object) -> Selection:
    settings = {
        "num_positives": 4,
        "num_negatives": 3,
        "generator": torch.Generator().manual_seed(seed),
        **options,
    }
    return select_templates(queries, TEMPLATES, **settings)  # type: ignore[arg-type]


def test_convention_the_view_direction_points_to_the_camera() -> None:
    torch.testing.assert_close(view_directions(TEMPLATES), VIEWS)


@given(st.integers(0, 1000), st.floats(-179, 179))
def test_a_turn_about_the_optical_axis_changes_the_inplane_angle_alone(seed: int, angle: float) -> None:
    query = random_rotations(1, seed)
    one, other = select(query), select(rotation_z(angle) @ query)
    assert torch.equal(one.anchor, other.anchor)
    assert torch.equal(one.positives, other.positives)
    turned = (one.inplane_deg - other.inplane_deg - angle + 180) % 360 - 180
    # The angle is that of a decomposition, which a tilt between query and anchor bends by its square.
    assert abs(turned.item()) < 1.0


def test_the_inplane_angle_is_exact_for_a_turned_template() -> None:
    turned = rotation_z(-37.0) @ TEMPLATES
    torch.testing.assert_close(
        inplane_angle_deg(turned, TEMPLATES), torch.full((162,), 37.0, dtype=torch.float64)
    )


def test_undoing_the_inplane_angle_brings_the_anchor_near_the_query() -> None:
    queries = random_rotations(200)
    chosen = select(queries)
    undone = (
        torch.stack([rotation_z(-angle) for angle in chosen.inplane_deg.tolist()]) @ TEMPLATES[chosen.anchor]
    )
    gaps = torch.stack(
        [rotation_angles_deg(a[None], b[None])[0, 0] for a, b in zip(undone, queries, strict=True)]
    )
    assert gaps.mean() < 6.5
    assert gaps.max() < 11
    assert chosen.anchor_angle_deg.max() < 10.8


def test_the_anchor_is_the_nearest_view_and_leads_its_neighbours() -> None:
    queries = random_rotations(50)
    chosen = select(queries)
    nearest = (view_directions(queries) @ VIEWS.mT).argmax(1)
    assert torch.equal(chosen.anchor, nearest)
    assert torch.equal(chosen.positives[:, 0], nearest)
    torch.testing.assert_close(chosen.ref_direction, VIEWS[nearest])
    angles = rotation_angles_deg(TEMPLATES[nearest], TEMPLATES)
    taken = angles.gather(1, chosen.positives)
    torch.testing.assert_close(taken, angles.sort(1).values[:, :4])


@pytest.mark.parametrize("metric", ["view", "so3"])
def test_negatives_are_far_and_never_positives(metric: str) -> None:
    queries = random_rotations(50)
    chosen = select(queries, num_negatives=20, metric=metric)
    angles = (view_angles_deg if metric == "view" else rotation_angles_deg)(queries, TEMPLATES)
    assert (angles.gather(1, chosen.negatives) >= 90).all()
    assert torch.equal(chosen.is_far, angles >= 90)
    for positives, negatives in zip(chosen.positives, chosen.negatives, strict=True):
        together = torch.cat((positives, negatives))
        assert len(together.unique()) == len(together)


def test_by_rotation_a_negative_may_show_the_same_side() -> None:
    query = rotation_z(120.0) @ TEMPLATES[[40]]
    assert select(query, metric="so3").is_far[0, 40]
    assert not select(query, metric="view").is_far[0, 40]


def test_with_too_few_far_ones_the_farthest_are_taken() -> None:
    queries = random_rotations(5)
    chosen = select(queries, num_negatives=10, min_negative_angle_deg=170.0)
    angles = view_angles_deg(queries, TEMPLATES)
    torch.testing.assert_close(
        angles.gather(1, chosen.negatives).sort(1, descending=True).values,
        angles.sort(1, descending=True).values[:, :10],
    )


def test_the_draw_follows_the_generator() -> None:
    queries = random_rotations(5)
    assert torch.equal(select(queries, seed=1).negatives, select(queries, seed=1).negatives)
    assert not torch.equal(select(queries, seed=1).negatives, select(queries, seed=2).negatives)


def test_every_far_template_is_drawn_at_times() -> None:
    query = random_rotations(1)
    drawn = torch.cat([select(query, seed=seed, num_negatives=30).negatives for seed in range(60)]).unique()
    assert torch.equal(drawn, select(query).is_far[0].nonzero()[:, 0])


def test_permuted_templates_give_the_same_ones() -> None:
    queries = random_rotations(20)
    order = torch.randperm(162)
    chosen = select_templates(queries, TEMPLATES[order], num_positives=1, num_negatives=0)
    assert torch.equal(order[chosen.anchor], select(queries).anchor)


def test_angles_stay_exact_when_small() -> None:
    tiny = axis_angle_to_matrix(torch.tensor([1e-7, 0.0, 0.0], dtype=torch.float64))
    assert view_angles_deg(tiny[None], torch.eye(3).double()[None]).item() == pytest.approx(
        math.degrees(1e-7)
    )
    assert rotation_angles_deg(tiny[None], torch.eye(3).double()[None]).item() == pytest.approx(
        math.degrees(1e-7)
    )


def test_errors() -> None:
    query = random_rotations(1)
    for options in ({"num_positives": 0}, {"num_negatives": -1}, {"num_positives": 160}):
        with pytest.raises(ValueError, match="together at most 162"):
            select(query, **options)
    with pytest.raises(ValueError, match="`metric` must be one of"):
        select(query, metric="chordal")
    with pytest.raises(ValueError, match="`R_query` must be"):
        select(query[0])
    with pytest.raises(ValueError, match="`R_query` must be finite"):
        select(query * math.nan)
    with pytest.raises(ValueError, match="at least one template"):
        select_templates(query, TEMPLATES[:0], num_positives=1, num_negatives=0)
