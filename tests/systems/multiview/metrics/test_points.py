"""Each metric of points against its formula, written out."""

from __future__ import annotations

import math

import pytest
import torch

from refkp.geometry.rotations import axis_angle_to_matrix
from refkp.systems.multiview.metrics.points import (
    PIXEL_THRESHOLDS,
    aligned_errors,
    body_length,
    point_errors,
    root_relative_errors,
    share_correct,
    summarise,
    summarise_along,
)

NAN, INF = float("nan"), float("inf")


def points(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_errors_are_distances_and_tell_misses_from_unknown_truth() -> None:
    truth = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [NAN, 0.0, 0.0], [5.0, 5.0, 5.0]])
    estimate = torch.tensor([[2.0, 3.0, 6.0], [NAN, 1.0, 1.0], [0.0, 0.0, 0.0], [5.0, 5.0, 5.0]])
    errors = point_errors(estimate, truth, torch.tensor([True, True, True, False]))
    assert errors[:2].tolist() == [7.0, INF]
    assert errors[2:].isnan().all()


def test_share_correct_counts_thresholds_in_and_unknown_out() -> None:
    errors = torch.tensor([0.5, 1.0, 4.9, 5.0, 49.0, 51.0, INF, NAN])
    want = [2 / 7, 2 / 7, 4 / 7, 4 / 7, 4 / 7, 4 / 7, 4 / 7, 5 / 7]
    assert share_correct(errors, torch.tensor(PIXEL_THRESHOLDS)).tolist() == pytest.approx(want)
    assert share_correct(torch.tensor([NAN]), torch.tensor([1.0])).isnan().all()


def test_body_length_is_the_largest_distance_of_known_points() -> None:
    animal = torch.tensor([[0.0, 0.0], [3.0, 4.0], [100.0, 0.0], [NAN, NAN]])
    known = torch.tensor([[True, True, False, False], [True, False, False, False]])
    lengths = body_length(animal.expand(2, 4, 2), known)
    assert lengths[0] == 5
    assert lengths[1].isnan()
    errors = torch.tensor([[0.5, 1.5], [0.5, 0.5]]) / lengths[:, None]
    assert share_correct(errors, torch.tensor([0.1, 0.2])).tolist() == [0.5, 0.5]


def test_root_relative_errors_forgive_a_shift_alone() -> None:
    truth, known = points(2, 5, 3), torch.ones(2, 5, dtype=torch.bool)
    known[1, 2] = False
    estimate = truth + torch.tensor([7.0, -1.0, 2.0])
    estimate[0, 3, 0] += 0.25
    errors = root_relative_errors(estimate, truth, known, 2)
    assert errors[0].tolist() == pytest.approx([0, 0, 0, 0.25, 0])
    assert errors[1].isnan().all()  # its root is unknown
    turned = truth @ axis_angle_to_matrix(torch.tensor([0.0, 0.0, 0.3], dtype=torch.float64)).mT
    assert float(root_relative_errors(turned, truth, known, 2)[0].max()) > 0.01


def test_aligned_errors_forgive_a_similarity_but_no_mirror_image() -> None:
    truth, known = points(3, 6, 3), torch.ones(3, 6, dtype=torch.bool)
    R = axis_angle_to_matrix(torch.tensor([0.4, -0.8, 1.1], dtype=torch.float64))
    estimate = 2.5 * truth @ R.mT + torch.tensor([1.0, 2.0, 3.0])
    assert float(aligned_errors(estimate, truth, known).max()) < 1e-9
    assert float(aligned_errors(estimate * torch.tensor([-1.0, 1.0, 1.0]), truth, known).max()) > 0.1
    # What is not known or not found takes no part in the alignment.
    known[0, 0] = False
    estimate[0, 0] += 100
    estimate[1, 1] = NAN
    errors = aligned_errors(estimate, truth, known)
    assert errors[0, 0].isnan()
    assert errors[1, 1] == INF
    rest = errors[~errors.isnan() & errors.isfinite()]
    assert float(rest.max()) < 1e-9


def test_too_few_points_are_not_aligned() -> None:
    truth, known = points(1, 5, 3), torch.zeros(1, 5, dtype=torch.bool)
    known[0, :2] = True
    assert aligned_errors(truth, truth, known).isnan().all()
    known[0, 2] = True
    assert aligned_errors(truth, truth, known).isfinite().sum() == 3


def test_summaries_leave_misses_out_of_means_and_tell_them() -> None:
    summary = summarise(torch.tensor([[1.0, 2.0, NAN], [3.0, 10.0, INF]]))
    assert summary[:4] == (5, 1, 4.0, 2.5)
    assert summary.percentiles == pytest.approx((4.75, 7.9, 8.95, 9.79))
    nothing = summarise(torch.tensor([NAN]))
    assert nothing.num_points == 0
    assert math.isnan(nothing.mean)
    assert all(map(math.isnan, nothing.percentiles))


def test_tables_by_joint_and_view_are_those_of_their_parts() -> None:
    errors = points(3, 2, 4).abs()  # samples, views, joints
    errors[0, 1, 2] = NAN
    by_joint, by_view = summarise_along(errors, -1), summarise_along(errors, -2)
    assert [row.num_points for row in by_joint] == [6, 6, 5, 6]
    assert [row.num_points for row in by_view] == [12, 11]
    assert by_joint[1].mean == pytest.approx(float(errors[..., 1].mean()))
    assert by_view[0].mean == pytest.approx(float(errors[:, 0].mean()))


def test_a_shape_that_differs_is_an_error() -> None:
    with pytest.raises(ValueError, match="estimate"):
        point_errors(torch.zeros(3, 2), torch.zeros(4, 2))
