"""Thresholds, recalls and the greedy matching of estimates to instances."""

from __future__ import annotations

import pytest
import torch

from refkp.systems.pose.metrics.recall import match_estimates, mspd_thresholds, mssd_thresholds, recall


def test_thresholds_of_the_challenge() -> None:
    assert mssd_thresholds(200.0).tolist() == pytest.approx([10.0 * k for k in range(1, 11)])
    assert mspd_thresholds(640).tolist() == [5.0 * k for k in range(1, 11)]
    assert mspd_thresholds(1280).tolist() == [10.0 * k for k in range(1, 11)]
    with pytest.raises(ValueError, match="`image_width` must be at least 1"):
        mspd_thresholds(0)


def test_recall_counts_errors_strictly_below() -> None:
    got = recall(torch.tensor([5.0, 4.9, float("inf"), 7.0]), torch.tensor([5.0, 10.0]))
    assert got.tolist() == [0.25, 0.75]


def test_there_is_no_recall_of_nothing() -> None:
    with pytest.raises(ValueError, match="at least one target"):
        recall(torch.zeros(0), torch.ones(1))


def test_an_instance_is_taken_once_and_by_the_first() -> None:
    """Two estimates of one instance are one hit; the second finds the other where its error allows that."""
    errors = torch.tensor([[1.0, 30.0], [0.5, 8.0]])
    got = match_estimates(errors, torch.tensor([5.0, 10.0]))
    assert got.tolist() == [[0, 0], [-1, 1]]


def test_instances_that_do_not_count_take_no_estimate() -> None:
    errors = torch.tensor([[1.0, 3.0]])
    got = match_estimates(errors, torch.tensor([5.0]), valid=torch.tensor([False, True]))
    assert got.tolist() == [[-1], [0]]


def test_each_threshold_may_have_its_own_errors() -> None:
    """VSD has one error for each misalignment tolerance."""
    errors = torch.tensor([[[0.4, 0.1]]])
    assert match_estimates(errors, torch.tensor([0.3, 0.3])).tolist() == [[-1, 0]]


def test_empty_sides() -> None:
    limits = torch.tensor([1.0])
    assert match_estimates(torch.zeros(0, 2), limits).tolist() == [[-1], [-1]]
    assert match_estimates(torch.zeros(2, 0), limits).shape == (0, 1)
