"""The rule by which a value is compared with its golden array.

Floating arrays: |got - want| <= atol + rtol |want| for every element, only where the mask named by `where`
is true (`!name`: is false). NaN equals NaN, and an infinity equals itself. Integer, boolean and text arrays
are equal or not.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from refkp.verify.manifest import Array, GoldenError, Tolerance

#: What replaces the tolerance of a case when float64 golden data runs on a backend that has float32 only.
FLOAT32_RTOL = 1e-4
FLOAT32_ATOL_OF_MAX = 5e-5


class Comparison(NamedTuple):
    """The worst element of one array."""

    array: str
    error: (
        float  # |got - want| there (inf for NaN or a wrong shape); of exact arrays how many elements differ
    )
    allowed: float
    reason: str = ""  # why it fails; empty if it passes

    @property
    def severity(self) -> float:
        """The error in units of the allowance; above 1 it fails."""
        if self.error == 0:
            return 0.0
        return self.error / self.allowed if self.allowed > 0 else math.inf


def compare(
    name: str, got: Array, want: Array, tolerance: Tolerance, mask: Array | None, *, float32: bool
) -> Comparison:
    """Compare one array.

    Args:
        name: of the array, for the report.
        got, want: what came and the golden array.
        tolerance: of the manifest.
        mask: the boolean array that `tolerance.where` names, with `!` not yet applied.
        float32: the backend had to run in float32; its tolerance replaces that of the manifest.
    """
    if got.shape != want.shape:
        return Comparison(name, math.inf, 0.0, f"{name} has shape {list(got.shape)}, not {list(want.shape)}")
    if mask is not None:
        selected = selection(mask, want.shape, invert=(tolerance.where or "").startswith("!"))
        got, want = got[selected], want[selected]
    if not np.issubdtype(want.dtype, np.floating):
        return _compare_exactly(name, got, want)
    if not np.issubdtype(got.dtype, np.number) or np.issubdtype(got.dtype, np.complexfloating):
        return Comparison(name, math.inf, 0.0, f"{name} is of dtype {got.dtype}, not {want.dtype}")
    if float32:
        tolerance = _float32_tolerance(want)
    return _compare_floats(name, got, want, tolerance)


def selection(mask: Array, shape: tuple[int, ...], *, invert: bool) -> Array:
    """A boolean mask broadcast over the trailing axes that it lacks or, failing that, as numpy does it."""
    mask = ~mask.astype(bool) if invert else mask.astype(bool)
    for candidate in (mask.reshape(mask.shape + (1,) * (len(shape) - mask.ndim)), mask):
        try:
            return np.broadcast_to(candidate, shape)
        except ValueError:
            continue
    raise GoldenError(f"a `where` mask of {list(mask.shape)} does not fit an array of {list(shape)}.")


def _compare_exactly(name: str, got: Array, want: Array) -> Comparison:
    is_text = want.dtype.kind in "US"
    if is_text != (got.dtype.kind in "US"):
        return Comparison(name, math.inf, 0.0, f"{name} is of dtype {got.dtype}, not {want.dtype}")
    different = int(np.count_nonzero(got != want))
    reason = f"{different} of {want.size} elements of {name} differ" if different else ""
    return Comparison(name, float(different), 0.0, reason)


def _compare_floats(name: str, got: Array, want: Array, tolerance: Tolerance) -> Comparison:
    if want.size == 0:
        return Comparison(name, 0.0, tolerance.atol)
    got, want = got.astype(np.float64), want.astype(np.float64)
    equal = (got == want) | (np.isnan(got) & np.isnan(want))
    with np.errstate(invalid="ignore"):
        error = np.where(equal, 0.0, np.abs(got - want))
    error[np.isnan(error)] = math.inf
    # An infinite golden value allows nothing but itself.
    allowed = tolerance.atol + tolerance.rtol * np.where(np.isfinite(want), np.abs(want), 0.0)
    severity = np.divide(error, allowed, out=np.where(error > 0, math.inf, 0.0), where=allowed > 0)
    worst = int(np.argmax(severity))
    failing = int(np.count_nonzero(error > allowed))
    reason = f"{failing} of {want.size} elements of {name} are off by more than allowed" if failing else ""
    return Comparison(name, float(error.flat[worst]), float(allowed.flat[worst]), reason)


def _float32_tolerance(want: Array) -> Tolerance:
    magnitudes = np.abs(want[np.isfinite(want)], dtype=np.float64)
    return Tolerance(FLOAT32_RTOL, FLOAT32_ATOL_OF_MAX * float(magnitudes.max(initial=0.0)))
