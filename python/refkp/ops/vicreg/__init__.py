"""VICReg terms of ragged segments, without a D x D matrix where the segment is shorter than D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from refkp._checks import (
    fail,
    number,
    refuse_tangents,
    require_choice,
    require_dtype,
    require_input,
    require_same,
    require_tensor,
    shape_text,
)
from refkp.ops._backends import choose_backend
from refkp.ops.vicreg import library, reference


class VICRegTerms(NamedTuple):
    """The loss of every segment and its three unweighted terms."""

    total: Tensor  # [P]
    invariance: Tensor  # [P]
    variance: Tensor  # [P]
    covariance: Tensor  # [P]


def vicreg(
    x: Tensor,
    y: Tensor,
    offsets: Tensor | None = None,
    *,
    coefficients: tuple[float, float, float] = (25.0, 25.0, 1.0),
    gamma: float = 1.0,
    eps: float = 1e-4,
    unbiased: bool = True,
    covariance: str = "sum",
    backend: str | None = None,
) -> VICRegTerms:
    """Variance-invariance-covariance terms of two branches, one set per segment of rows.

    For a segment of n rows, c its rows minus their mean and s_d = sum_l c_ld^2, per branch z of x and y::

        invariance = mean (x - y)^2
        variance   = (v(x) + v(y)) / 2    v(z) = mean_d max(0, gamma - sqrt(s_d / (n - 1) + eps))
        covariance = k(x) + k(y)          k(z) = sum_{i != j} (c^T c)_ij^2 / (D (n - 1)^2)
        total      = a invariance + b variance + c covariance,   (a, b, c) = coefficients

    Convention: the covariance is the sum of the branches, as in the authors' code, or half of it with
    `covariance="mean"`; the variance is half the sum, as in that code and unlike the paper. A segment of one
    row has variance and covariance 0 with zero gradient; an empty segment has all terms 0, so leave it out of
    a mean. Nothing is clamped; a value that is not finite spreads to the terms and gradients of its segment.

    The kernels use ||c^T c||_F = ||c c^T||_F: the work is proportional to n D min(n, D), no D x D matrix is
    held for n < D and no n x n matrix for D < n. The backward pass recomputes the smaller matrix: on the CPU
    one per thread, on CUDA at most as many elements as x and y. It is bitwise repeatable, and on the CPU
    independent of the number of threads.

    Args:
        x: [T,D] first branch, the rows of all segments stacked; float32 or float64 on the CPU; float32,
            float16 or bfloat16 (computed in float32) on CUDA and in Triton.
        y: [T,D] second branch, row by row the partner of `x`; dtype and device as `x`.
        offsets: int64 [P+1] bounds of the segments: segment p is rows offsets[p] to offsets[p+1]. 0 first, T
            last, ascending; repeats make empty segments. On the CPU, since the host plans by it; on the
            device of `x` it costs one synchronisation per pass. None: all rows are one segment, P = 1.
        coefficients: weights (a, b, c) of the terms in `total`.
        gamma: standard deviation that every dimension should reach.
        eps: added to the variance under the root; above 0.
        unbiased: divide s_d by n - 1 in the variance term, else by n.
        covariance: "sum" or "mean" of the two branches.
        backend: "native", "triton" or "reference"; None takes the fastest that supports the call.

    Returns:
        VICRegTerms(total, invariance, variance, covariance), each [P], in the dtype of `x`, or float32 for
        half precision.

    Raises:
        ValueError: a shape, dtype, device or option is wrong; the offsets do not ascend from 0 to T.
        NotImplementedError: the named backend cannot run this call, or has no forward mode.

    All four outputs are differentiable with respect to `x` and `y`, once; in forward mode (`torch.func.jvp`) and twice
    by the reference alone.

    Source: Bardes, Ponce, LeCun, "VICReg", ICLR 2022, in the per-segment form of spec panorama 3.6 and 12.

    >>> x = torch.tensor([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]])
    >>> terms = vicreg(x, x, torch.tensor([0, 2, 3]))  # the covariance matrix of the first two rows is
    >>> terms.covariance  # [[0.5, -0.5], [-0.5, 0.5]]; the third row is a segment of its own
    tensor([0.5000, 0.0000])
    """
    _check(x, y, offsets, covariance)
    a, b, c = _weights(coefficients)
    gamma, eps = _finite("gamma", gamma), _finite("eps", eps)
    if not eps > 0:
        fail("vicreg", "eps", "finite and above 0", eps)
    chosen = choose_backend("vicreg", backend, x.device, x.dtype)
    if chosen == "reference":
        terms = reference.vicreg(x, y, offsets, gamma, eps, bool(unbiased))
    else:
        refuse_tangents("vicreg", "Use backend='reference'.", x=x, y=y)
        terms = library.vicreg(x, y, offsets, gamma, eps, bool(unbiased), chosen)
    invariance, variance, cov = terms.unbind(0)
    cov = cov / 2 if covariance == "mean" else cov
    return VICRegTerms(a * invariance + b * variance + c * cov, invariance, variance, cov)


def _check(x: Tensor, y: Tensor, offsets: Tensor | None, covariance: str) -> None:
    require_input("vicreg", "x", x, "T,D")
    require_input("vicreg", "y", y, "T,D", T=x.shape[0], D=x.shape[1])
    require_same("vicreg", "y", y, "x", x)
    if offsets is not None:
        _check_offsets(x, offsets)
    require_choice("vicreg", "covariance", covariance, ("sum", "mean"))


def _weights(coefficients: Sequence[float]) -> list[float]:
    if len(coefficients) != 3:
        fail("vicreg", "coefficients", "three numbers", repr(coefficients))
    return [number("vicreg", "coefficients", value) for value in coefficients]


def _finite(argument: str, value: float) -> float:
    value = number("vicreg", argument, value)
    if not abs(value) < float("inf"):
        fail("vicreg", argument, "finite", value)
    return value


def _check_offsets(x: Tensor, offsets: Tensor) -> None:
    require_tensor("vicreg", "offsets", offsets)
    require_dtype("vicreg", "offsets", offsets, (torch.int64,))
    if offsets.dim() != 1 or offsets.shape[0] < 1:
        fail(
            "vicreg",
            "offsets",
            "[P+1]",
            shape_text(offsets.shape),
            "Bounds of P segments, 0 first and T last.",
        )
    if offsets.device.type != "cpu" and offsets.device != x.device:
        fail("vicreg", "offsets", f"on the CPU or the device of `x` ({x.device})", offsets.device)
