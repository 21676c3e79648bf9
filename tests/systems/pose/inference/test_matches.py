"""Matches from logits and flow: each rule by a small case that can be counted by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from refkp.systems.pose.inference.grid import PatchGrid
from refkp.systems.pose.inference.matches import (
    Matches,
    Prediction,
    classify_patches,
    coarse_matches,
    draw_by_weight,
    matches_of,
    rank_templates,
    refined_matches,
    select_patches,
    soft_matches,
)
from refkp.systems.pose.inference.spec import MatchSpec

GRID = PatchGrid(2, 3, 4)
PATCHES = GRID.num_patches
EVERYWHERE = torch.ones(PATCHES, dtype=torch.bool)


def certain_logits(classes: list[int]) -> Tensor:
    """[1,N,N+1] with nearly all probability at the given class of every query patch."""
    logits = torch.zeros(1, PATCHES, PATCHES + 1)
    logits[0, range(PATCHES), classes] = 30.0
    return logits


def random_prediction(templates: int = 5) -> Prediction:
    return Prediction(
        torch.randn(templates, PATCHES, PATCHES + 1),
        torch.randn(templates, PATCHES, 4, 4, 2),
        torch.rand(templates, PATCHES, 4, 4) + 0.1,
    )


def rows(matches: Matches) -> list[list[float]]:
    """The matches as sorted rows, for comparison whatever their order."""
    columns = [matches.template[:, None], matches.query_uv, matches.template_uv, matches.weight[:, None]]
    return sorted(torch.cat([column.double() for column in columns], dim=1).tolist())


def test_convention_pixel_centres() -> None:
    patch = torch.tensor([4])  # row 1, column 1
    first = torch.tensor([0])
    assert PatchGrid(2, 3, 4).centres(patch).tolist() == [[6.0, 6.0]]
    assert PatchGrid(2, 3, 4).pixels(patch, first, first + 1).tolist() == [[5.5, 4.5]]
    assert PatchGrid(2, 3, 4, pixel_offset=0).pixels(patch, first, first + 1).tolist() == [[5.0, 4.0]]
    assert PatchGrid(2, 3, 5).centres(patch).tolist() == [[7.5, 7.5]]
    assert PatchGrid(2, 3, 5, pixel_offset=0).centres(patch).tolist() == [[7.0, 7.0]]


def test_centre_pixels_drops_the_remainder() -> None:
    image = torch.arange(2 * 10 * 14).reshape(2, 10, 14)
    want = [image[1, row, column].item() for row in (2, 6) for column in (2, 6, 10)]
    assert GRID.centre_pixels(image)[1].tolist() == want


def test_unseen_and_background_patches_match_nothing() -> None:
    logits = certain_logits([3, PATCHES, 1, 0, 5, 2])
    on_object = torch.tensor([True, True, False, True, True, True])
    pairs = select_patches(classify_patches(logits, on_object), torch.tensor([0]))
    assert pairs.query.tolist() == [0, 3, 4, 5]
    assert pairs.partner.tolist() == [3, 0, 5, 2]
    torch.testing.assert_close(pairs.score, torch.ones(4))


def test_template_score_is_the_sum_of_the_seen_probabilities() -> None:
    logits = torch.randn(3, PATCHES, PATCHES + 1)
    got = classify_patches(logits).template_score
    for template in range(3):
        want = 0.0
        for patch in range(PATCHES):
            probability = logits[template, patch].softmax(-1)
            want += float(probability.max()) if int(probability.argmax()) < PATCHES else 0.0
        assert float(got[template]) == pytest.approx(want, rel=1e-6)


def test_mutual_keeps_the_best_query_patch_of_a_partner() -> None:
    logits = certain_logits([2, 2, 1, 0, 4, 5])
    logits[0, 1, 2] = 40.0  # patch 1 is closer to partner 2 than patch 0 is
    assert (classify_patches(logits, mutual=True).score[0] > 0).tolist() == [
        False,
        True,
        True,
        True,
        True,
        True,
    ]
    without = torch.tensor(
        [True, False, True, True, True, True]
    )  # patch 1 is background: it competes no more
    kept = classify_patches(logits, without, mutual=True).score[0] > 0
    assert kept.tolist() == [True, False, True, True, True, True]


def test_top_k_patches_are_the_most_probable_ones() -> None:
    classes = classify_patches(torch.randn(4, PATCHES, PATCHES + 1))
    pairs = select_patches(classes, torch.tensor([2, 0]), top_k=2)
    for template in (2, 0):
        kept = pairs.query[pairs.template == template]
        best = classes.score[template].topk(2).indices
        assert set(kept.tolist()) == {int(q) for q in best if classes.score[template, q] > 0}
        assert kept.tolist() == sorted(kept.tolist())


def test_templates_are_ranked_best_first_and_ties_by_index() -> None:
    ranking = rank_templates(torch.tensor([1.0, 2.0, 2.0, 0.0]), 3)
    assert ranking.templates.tolist() == [1, 2, 0]
    assert rank_templates(torch.tensor([1.0, 2.0])).templates.tolist() == [0, 1]
    with pytest.raises(ValueError, match="top_k"):
        rank_templates(torch.ones(2), 0)


def test_refined_matches_go_from_the_template_pixel_to_the_query() -> None:
    pairs = select_patches(classify_patches(certain_logits([4] + [PATCHES] * 5)), torch.tensor([0]))
    flow, weight, confidence = torch.zeros(1, 4, 4, 2), torch.zeros(1, 4, 4), torch.full((1, 4, 4), 0.5)
    flow[0, 1, 3], weight[0, 1, 3] = torch.tensor([0.5, -0.25]), 2.0
    matches = refined_matches(pairs, flow, weight, confidence, GRID, min_weight=1.0)
    assert matches.query_uv.tolist() == [[2.0 + 4 * 0.5, 2.0 - 4 * 0.25]]
    assert matches.template_uv.tolist() == [[4 + 3 + 0.5, 4 + 1 + 0.5]]  # patch (1, 1), pixel row 1, column 3
    assert matches.weight.tolist() == [2.0]
    torch.testing.assert_close(matches.score, 0.5 * pairs.score)


def test_coarse_matches_join_centres() -> None:
    pairs = select_patches(classify_patches(certain_logits([5] + [PATCHES] * 5)), torch.tensor([0]))
    matches = coarse_matches(pairs, GRID)
    assert matches.query_uv.tolist() == [[2.0, 2.0]]
    assert matches.template_uv.tolist() == [[10.0, 6.0]]


def test_soft_matches_are_the_expectation_over_the_neighbours_inside_the_grid() -> None:
    grid = PatchGrid(3, 3, 4)
    logits = torch.full((1, 9, 10), -30.0)
    logits[..., 9] = 0.0  # unseen
    logits[0, 0, 9] = -30.0
    logits[0, 0, 0], logits[0, 0, 1] = torch.log(torch.tensor(0.75)), torch.log(torch.tensor(0.2))
    logits[0, 0, 8] = torch.log(torch.tensor(0.05))  # not beside patch 0
    matches = soft_matches(select_patches(classify_patches(logits), torch.tensor([0])), logits, grid)
    torch.testing.assert_close(matches.score, torch.tensor([0.95]))
    torch.testing.assert_close(matches.template_uv, torch.tensor([[2 + 4 * 0.2 / 0.95, 2.0]]))


@pytest.mark.parametrize("kind", ["refined", "coarse", "soft"])
def test_permuted_templates_give_the_same_matches(kind: str) -> None:
    prediction, spec = random_prediction(), MatchSpec(kind=kind)
    order = torch.randperm(5)
    permuted = Prediction(*(field[order] for field in prediction))
    kept = torch.tensor([1, 3])
    renamed = torch.stack([(order == template).nonzero()[0, 0] for template in kept])
    got = matches_of(permuted, renamed, EVERYWHERE, GRID, spec)
    want = matches_of(prediction, kept, EVERYWHERE, GRID, spec)
    assert rows(got._replace(template=order[got.template])) == rows(want)
    assert len(want.weight) > 0


def test_weight_is_the_inverse_scale() -> None:
    prediction = random_prediction()._replace(scale=torch.full((5, PATCHES, 4, 4), 0.25))
    torch.testing.assert_close(prediction.weight, torch.full((5, PATCHES, 4, 4), 1 / 0.2501))
    assert (
        len(matches_of(prediction, torch.arange(5), EVERYWHERE, GRID, MatchSpec(min_weight=4.1)).weight) == 0
    )


def test_a_score_is_the_probability_of_the_pair_times_the_confidence_of_the_flow() -> None:
    prediction = random_prediction()
    certain = prediction._replace(scale=torch.full_like(prediction.scale, 1e-3))
    templates, spec = torch.arange(5), MatchSpec(min_weight=0.0)
    got, sure = (matches_of(said, templates, EVERYWHERE, GRID, spec) for said in (prediction, certain))
    kept = select_patches(classify_patches(prediction.logits), templates)
    confidence = prediction.confidence[kept.template, kept.query].flatten()
    torch.testing.assert_close(got.score, sure.score * confidence)
    assert float(got.score.min()) >= 0
    assert float(sure.score.max()) <= 1
    doubtful = prediction._replace(scale=2 * prediction.scale)
    assert bool((matches_of(doubtful, templates, EVERYWHERE, GRID, spec).score < got.score).all())


def test_a_pixel_of_which_nothing_is_known_makes_no_match() -> None:
    prediction = random_prediction()
    unknown = prediction._replace(scale=torch.full_like(prediction.scale, torch.inf))
    assert len(matches_of(unknown, torch.arange(5), EVERYWHERE, GRID, MatchSpec(min_weight=0.0)).score) == 0


def test_a_draw_prefers_heavy_elements_and_is_repeatable() -> None:
    weight = torch.ones(1000)
    weight[:100] = 1e6

    def draw() -> Tensor:
        return draw_by_weight(weight, 100, torch.Generator().manual_seed(3))

    assert torch.equal(draw(), draw())
    assert int((draw() < 100).sum()) > 95
    assert draw().tolist() == sorted(set(draw().tolist()))
    assert draw_by_weight(weight, 5000, torch.Generator()).tolist() == list(range(1000))


def test_logits_that_are_not_finite_are_an_error() -> None:
    logits = torch.zeros(1, PATCHES, PATCHES + 1)
    logits[0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="1 of 42 elements NaN"):
        classify_patches(logits)
    with pytest.raises(ValueError, match=r"\[S,N,N\+1\]"):
        classify_patches(torch.zeros(1, 4, 4))


@pytest.mark.parametrize("wrong", [{"kind": "fine"}, {"max_count": 3}, {"top_k_patches": 0}])
def test_options_are_checked(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="MatchSpec"):
        MatchSpec(**wrong)  # type: ignore[arg-type]
