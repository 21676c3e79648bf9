"""The comparison rule, element by element."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from refkp.verify.compare import Comparison, compare, selection
from refkp.verify.manifest import GoldenError, Tolerance


def verdict(
    got: Any, want: Any, *, rtol: float = 0.0, atol: float = 0.0, where: str | None = None, mask: Any = None
) -> Comparison:
    mask = None if mask is None else np.asarray(mask)
    return compare("y", np.asarray(got), np.asarray(want), Tolerance(rtol, atol, where), mask, float32=False)


def test_allowance_is_atol_plus_rtol_of_the_golden_value() -> None:
    assert verdict([10.0 + 0.29], [10.0], rtol=0.02, atol=0.1).reason == ""
    failed = verdict([1.0, 10.0 + 0.31], [1.0, 10.0], rtol=0.02, atol=0.1)
    assert failed.reason == "1 of 2 elements of y are off by more than allowed"
    assert math.isclose(failed.error, 0.31)
    assert math.isclose(failed.allowed, 0.3)


def test_worst_is_the_largest_error_for_its_allowance() -> None:
    worst = verdict([100.5, 0.3], [100.0, 0.0], rtol=0.01, atol=0.2)
    assert math.isclose(worst.error, 0.3)
    assert math.isclose(worst.severity, 1.5)


def test_zero_tolerance_wants_equality() -> None:
    assert verdict([0.1], [0.1]).reason == ""
    failed = verdict([np.nextafter(0.1, 1)], [0.1])
    assert failed.reason
    assert failed.severity == math.inf


@pytest.mark.parametrize(
    ("got", "want", "passes"),
    [
        (math.nan, math.nan, True),
        (math.nan, 1.0, False),
        (1.0, math.nan, False),
        (math.inf, math.inf, True),
        (-math.inf, math.inf, False),
        (1e300, math.inf, False),
        (math.inf, 1.0, False),
    ],
)
def test_nan_and_infinity_match_only_themselves(got: float, want: float, passes: bool) -> None:
    assert (verdict([0.0, got], [0.0, want], rtol=0.5, atol=1.0).reason == "") is passes


def test_wrong_shapes_fail_even_if_they_broadcast() -> None:
    failed = verdict([[1.0]], [1.0], atol=1.0)
    assert failed.reason == "y has shape [1, 1], not [1]"
    assert failed.severity == math.inf


def test_integers_booleans_and_text_are_equal_or_not_whatever_the_tolerance() -> None:
    assert verdict([1, 2], [1, 2]).reason == ""
    assert verdict([1, 3], [1, 2], atol=5).reason == "1 of 2 elements of y differ"
    assert verdict([True], [False]).reason
    assert verdict(np.array([200], np.uint8), np.array([201], np.uint8)).error == 1
    assert verdict(["a", "bc"], ["a", "bc"]).reason == ""
    assert verdict(["a", "bd"], ["a", "bc"]).reason
    assert verdict([1.0], ["1.0"]).reason == "y is of dtype float64, not <U3"
    assert verdict(["1.0"], [1.0]).reason


def test_dtype_of_numbers_is_free() -> None:
    assert verdict(np.array([0.5], np.float32), np.array([0.5], np.float64)).reason == ""
    assert verdict([2], [2.0]).reason == ""


def test_where_selects_and_exclamation_mark_inverts() -> None:
    got, want, mask = [1.0, 9.0], [1.0, 2.0], [True, False]
    assert verdict(got, want, where="m", mask=mask).reason == ""
    assert verdict(got, want, where="!m", mask=mask).reason
    assert verdict(got, want, where="m", mask=[False, False]).reason == ""
    assert verdict([1, 9], [1, 2], where="m", mask=mask).reason == ""


def test_where_lacks_trailing_axes() -> None:
    mask = np.array([[True, False, False], [False, True, False]])
    chosen = selection(mask, (2, 3, 4), invert=False)
    assert chosen.shape == (2, 3, 4)
    assert bool((chosen == mask[..., None]).all())
    square = np.array([True, False])
    assert selection(square, (2, 2), invert=False).tolist() == [[True, True], [False, False]]


def test_where_may_lack_an_inner_axis() -> None:
    mask = np.ones((1, 5, 7), dtype=bool)
    assert selection(mask, (1, 2, 5, 7), invert=True).sum() == 0


def test_where_that_fits_nothing_is_an_error() -> None:
    with pytest.raises(GoldenError, match=r"mask of \[3\] does not fit an array of \[2, 4\]"):
        selection(np.ones(3, dtype=bool), (2, 4), invert=False)


def test_float32_tolerance_replaces_that_of_the_manifest() -> None:
    want, tolerance = np.array([0.0, 2.0, np.inf]), Tolerance(0.0, 1e-12)
    within = compare("y", np.array([0.9e-4, 2.0, np.inf]), want, tolerance, None, float32=True)
    assert within.reason == ""
    beyond = compare("y", np.array([1.1e-4, 2.0, np.inf]), want, tolerance, None, float32=True)
    assert math.isclose(beyond.allowed, 1e-4)
    assert beyond.reason


def test_empty_arrays_agree() -> None:
    assert verdict(np.zeros((0, 3)), np.zeros((0, 3))).reason == ""
    assert compare("y", np.zeros(0), np.zeros(0), Tolerance(0, 0), None, float32=True).reason == ""
