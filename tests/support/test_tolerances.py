"""The comparison helpers fail when they should."""

from __future__ import annotations

import pytest
import torch

from refkp.ops import OPS
from tests.support.tolerances import TOLERANCES, Tolerance, assert_close, error_ratio, tolerance

LIMIT = Tolerance(rtol=1e-3, atol=1e-3)


def test_error_is_relative_to_the_largest_wanted_value() -> None:
    want = torch.tensor([1000.0, 0.0])
    assert assert_close("x", want + torch.tensor([0.0, 0.5]), want, LIMIT) == pytest.approx(0.5)
    with pytest.raises(AssertionError, match=r"x: 1 of 2 elements.*worst at \(1,\).*2 times"):
        assert_close("x", want + torch.tensor([0.0, 2.0]), want, LIMIT)


def test_all_zero_wanted_is_judged_absolutely() -> None:
    assert_close("x", torch.tensor([5e-4]), torch.zeros(1), LIMIT)
    with pytest.raises(AssertionError):
        assert_close("x", torch.tensor([5e-3]), torch.zeros(1), LIMIT)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_only_a_nan_or_infinity_agrees_with_itself(value: float) -> None:
    special, plain = torch.tensor([value]), torch.tensor([1.0])
    assert error_ratio(special, special, LIMIT).item() == 0
    assert error_ratio(special, plain, LIMIT).item() > 1
    assert error_ratio(plain, special, LIMIT).item() > 1


def test_outliers_allow_a_share_and_no_more() -> None:
    got, want = torch.zeros(100), torch.zeros(100)
    got[3] = 9.0
    assert assert_close("x", got, want, LIMIT, outliers=0.01) == 0.0
    got[4] = 9.0
    with pytest.raises(AssertionError, match="2 of 100"):
        assert_close("x", got, want, LIMIT, outliers=0.01)


def test_shapes_must_match_and_empty_arrays_agree() -> None:
    with pytest.raises(AssertionError, match="shape"):
        assert_close("x", torch.zeros(1, 2), torch.zeros(2), LIMIT)
    assert assert_close("x", torch.zeros(0, 3), torch.zeros(0, 3), LIMIT) == 0.0


def test_the_table_covers_every_op_and_nothing_else() -> None:
    assert {op for op, _, _ in TOLERANCES} == set(OPS)
    assert tolerance(OPS[0], "reference", torch.float64) == TOLERANCES[OPS[0], "native", torch.float64]
