"""vicreg in Triton: float32 arithmetic on float32, float16 or bfloat16 storage.

The steps are those of csrc/vicreg/vicreg_cuda.cu: column moments; lower tiles of the smaller Gram matrix,
squared and summed in the forward pass, kept in the backward pass; gradient tiles. A program does one tile of
one (branch, segment); those beyond the end of a short segment return at once. The last sums, over tiles and
columns, are left to torch. No atomics. c is the branch less its column means.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from refkp.ops.vicreg.segments import Plan, plan

_TILE = 64
_COLUMNS = 64
_ROWS = 32
_STEP = 32


def forward(x: Tensor, y: Tensor, offsets: Tensor | None, gamma: float, eps: float, unbiased: bool) -> Tensor:
    """Invariance, variance and covariance: [3,P]."""
    x, y, segments = x.contiguous(), y.contiguous(), plan(x, offsets)
    num_segments, dim = segments.num_segments, x.shape[1]
    moments = _moments(x, y, segments)
    pairs = _pairs(segments, dim)
    squares = x.new_zeros(2, num_segments, pairs, dtype=torch.float64)
    if squares.numel():
        _gram[(squares.numel(),)](
            x,
            y,
            segments.table,
            moments,
            squares,
            num_segments,
            dim,
            pairs,
            KEEP=False,
            TILE=_TILE,
            STEP=_STEP,
        )
    return _terms(moments, squares, segments, dim, gamma, eps, unbiased)


def backward(
    x: Tensor, y: Tensor, offsets: Tensor | None, weights: Tensor, gamma: float, eps: float, unbiased: bool
) -> tuple[Tensor, Tensor]:
    """Gradients of sum(weights * terms) with respect to x and y."""
    x, y, segments = x.contiguous(), y.contiguous(), plan(x, offsets)
    num_segments, dim = segments.num_segments, x.shape[1]
    grad_x, grad_y = torch.empty_like(x), torch.empty_like(y)
    pairs, dim_tiles = _pairs(segments, dim), triton.cdiv(dim, _TILE)
    tiles = triton.cdiv(segments.max_rows, _TILE) * dim_tiles
    if num_segments * tiles == 0:
        return grad_x, grad_y
    moments = _moments(x, y, segments)
    gram = x.new_empty(2, segments.gram_elements, dtype=torch.float32)
    _gram[(2 * num_segments * pairs,)](
        x, y, segments.table, moments, gram, num_segments, dim, pairs, KEEP=True, TILE=_TILE, STEP=_STEP
    )
    _gradient[(2 * num_segments * tiles,)](
        x,
        y,
        segments.table,
        moments,
        gram,
        weights.contiguous(),
        grad_x,
        grad_y,
        moments[0].numel(),
        num_segments,
        dim,
        tiles,
        dim_tiles,
        gamma,
        eps,
        DELTA=int(unbiased),
        TILE=_TILE,
        STEP=_STEP,
    )
    return grad_x, grad_y


def _pairs(segments: Plan, dim: int) -> int:
    """Lower tiles of the largest Gram matrix."""
    tiles = triton.cdiv(min(segments.max_rows, dim), _TILE)
    return tiles * (tiles + 1) // 2


def _moments(x: Tensor, y: Tensor, segments: Plan) -> Tensor:
    """[5,P,D]: the means of x and y, their s, and the squared differences, all by column."""
    dim = x.shape[1]
    moments = x.new_zeros(5, segments.num_segments, dim, dtype=torch.float32)
    if moments.numel():
        blocks = triton.cdiv(dim, _COLUMNS)
        _column_moments[(segments.num_segments * blocks,)](
            x, y, segments.table, moments, moments[0].numel(), dim, blocks, ROWS=_ROWS, COLUMNS=_COLUMNS
        )
    return moments


def _terms(
    moments: Tensor, squares: Tensor, segments: Plan, dim: int, gamma: float, eps: float, unbiased: bool
) -> Tensor:
    """The last sums, in double: [3,P] in float32."""
    n = segments.table[0].diff()
    filled, spread = (n > 0) & (dim > 0), (n > 1) & (dim > 0)
    wide = moments.double()
    s, differences = wide[2:4], wide[4]
    freedom = (n - int(unbiased)).clamp(min=1)
    gap = torch.relu(gamma - torch.sqrt(s / freedom[:, None] + eps))
    diagonal = torch.where(n <= dim, s.square().sum(2), 0.0)
    off_diagonal = (squares.sum(2) - diagonal).clamp(min=0).sum(0)
    invariance = differences.sum(1) / (n * dim).clamp(min=1)
    variance = gap.sum((0, 2)) / max(2 * dim, 1)
    covariance = off_diagonal / (max(dim, 1) * (n - 1).clamp(min=1).double().square())
    terms = [
        torch.where(filled, invariance, 0.0),
        torch.where(spread, variance, 0.0),
        torch.where(spread, covariance, 0.0),
    ]
    return torch.stack(terms).float()


@triton.jit
def _column_sum(
    x, first, cols, n, dim, shift, ROWS: tl.constexpr, COLUMNS: tl.constexpr, SQUARE: tl.constexpr
):
    """Sums over a segment of x - shift, or of its square, for a block of columns."""
    total = tl.zeros((COLUMNS,), tl.float32)
    for row in range(0, n, ROWS):
        rows = row + tl.arange(0, ROWS)
        inside = (rows < n)[:, None] & (cols < dim)[None, :]
        value = tl.load(x + (first + rows)[:, None] * dim + cols[None, :], inside, other=0.0).to(tl.float32)
        value = tl.where(inside, value - shift[None, :], 0.0)
        total += tl.sum(value * value if SQUARE else value, 0)
    return total


@triton.jit
def _column_moments(x, y, table, moments, plane, dim, blocks, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """The first row is taken off before a mean is formed, so that a mean far from 0 costs no digits."""
    place = tl.program_id(0).to(tl.int64)
    segment = place // blocks
    cols = place % blocks * COLUMNS + tl.arange(0, COLUMNS)
    first = tl.load(table + segment)
    n = tl.load(table + segment + 1) - first
    if n == 0:
        return
    out = moments + segment * dim + cols
    for branch in tl.static_range(2):
        source = x if branch == 0 else y
        start = tl.load(source + first * dim + cols, cols < dim, other=0.0).to(tl.float32)
        mean = start + _column_sum(source, first, cols, n, dim, start, ROWS, COLUMNS, False) / n
        squares = _column_sum(source, first, cols, n, dim, mean, ROWS, COLUMNS, True)
        tl.store(out + branch * plane, mean, cols < dim)
        tl.store(out + (2 + branch) * plane, squares, cols < dim)
    total = tl.zeros((COLUMNS,), tl.float32)
    for row in range(0, n, ROWS):
        rows = row + tl.arange(0, ROWS)
        inside = (rows < n)[:, None] & (cols < dim)[None, :]
        at = (first + rows)[:, None] * dim + cols[None, :]
        difference = tl.load(x + at, inside, other=0.0).to(tl.float32) - tl.load(
            y + at, inside, other=0.0
        ).to(tl.float32)
        total += tl.sum(difference * difference, 0)
    tl.store(out + 4 * plane, total, cols < dim)


@triton.jit
def _centred(source, mean, first, rows, cols, n, dim):
    """The tile [rows, cols] of c, 0 outside."""
    inside = (rows < n)[:, None] & (cols < dim)[None, :]
    value = tl.load(source + (first + rows)[:, None] * dim + cols[None, :], inside, other=0.0).to(tl.float32)
    return tl.where(inside, value - tl.load(mean + cols, cols < dim, other=0.0)[None, :], 0.0)


@triton.jit
def _matrix(gram, rows, cols, side):
    """The tile [rows, cols] of a Gram matrix, 0 outside."""
    inside = (rows < side)[:, None] & (cols < side)[None, :]
    return tl.load(gram + rows[:, None] * side + cols[None, :], inside, other=0.0)


@triton.jit
def _lower_tile(pair):
    """Row and column of the pair-th tile of a lower triangle, counted row by row."""
    row = ((tl.sqrt(8.0 * pair.to(tl.float32) + 1.0) - 1.0) / 2.0).to(tl.int64)
    row -= tl.where(row * (row + 1) // 2 > pair, 1, 0)
    row += tl.where((row + 1) * (row + 2) // 2 <= pair, 1, 0)
    return row, pair - row * (row + 1) // 2


@triton.jit
def _gram_tile(source, mean, first, i, j, n, dim, TILE: tl.constexpr, STEP: tl.constexpr):
    """The tile [i, j] of the smaller Gram matrix: c c^T for n <= D, else c^T c."""
    depth = tl.maximum(n, dim)
    total = tl.zeros((TILE, TILE), tl.float32)
    if n <= dim:
        for start in range(0, depth, STEP):
            k = start + tl.arange(0, STEP)
            left = _centred(source, mean, first, i, k, n, dim)
            right = _centred(source, mean, first, j, k, n, dim)
            total = tl.dot(left, tl.trans(right), total, input_precision="ieee")
    else:
        for start in range(0, depth, STEP):
            k = start + tl.arange(0, STEP)
            left = _centred(source, mean, first, k, i, n, dim)
            right = _centred(source, mean, first, k, j, n, dim)
            total = tl.dot(tl.trans(left), right, total, input_precision="ieee")
    return total


@triton.jit
def _gram(
    x, y, table, moments, out, num_segments, dim, pairs,
    KEEP: tl.constexpr, TILE: tl.constexpr, STEP: tl.constexpr,
):  # fmt: skip
    """A lower tile of the Gram matrix: kept with its mirror image, or its squares summed.

    `out` is [branch, gram_offsets] or [branch, segment, pair]. The diagonal counts for n <= D, where
    the sum of s^2 is taken off later, and is 0 otherwise.
    """
    place = tl.program_id(0).to(tl.int64)
    pair, segment, branch = place % pairs, place // pairs % num_segments, place // pairs // num_segments
    row, column = _lower_tile(pair)
    first = tl.load(table + segment)
    n = tl.load(table + segment + 1) - first
    side = tl.minimum(n, dim)
    if (n < 2) | (row * TILE >= side):
        return
    i = row * TILE + tl.arange(0, TILE)
    j = column * TILE + tl.arange(0, TILE)
    source = x
    if branch == 1:
        source = y
    mean = moments + (branch * num_segments + segment) * dim
    total = _gram_tile(source, mean, first, i, j, n, dim, TILE, STEP)
    below, on = i[:, None] > j[None, :], (i[:, None] == j[None, :]) & (n <= dim)
    if KEEP:
        total = tl.where(below | on, total, 0.0)
        inside = (i < side)[:, None] & (i[:, None] >= j[None, :])
        grams = table + num_segments + 1
        out += branch * tl.load(grams + num_segments) + tl.load(grams + segment)
        tl.store(out + i[:, None] * side + j[None, :], total, inside)
        tl.store(out + j[None, :] * side + i[:, None], total, inside)
    else:
        wide = total.to(tl.float64)
        tl.store(out + place, tl.sum(tl.where(below, 2.0, tl.where(on, 1.0, 0.0)) * wide * wide))


@triton.jit
def _gradient_weights(weights, segment, num_segments, n, dim):
    """The cotangents of a segment with the constant factors of their gradients: invariance, variance, covariance."""
    rows, size = n.to(tl.float32), 1.0 * dim
    invariance = 2.0 * tl.load(weights + segment) / (rows * size)
    variance, covariance = 0.0, 0.0
    if n > 1:
        variance = tl.load(weights + num_segments + segment) / (2.0 * size)
        covariance = (
            4.0 * tl.load(weights + 2 * num_segments + segment) / ((rows - 1.0) * (rows - 1.0) * size)
        )
    return invariance, variance, covariance


@triton.jit
def _covariance_product(source, mean, gram, first, i, j, n, dim, TILE: tl.constexpr, STEP: tl.constexpr):
    """The tile [i, j] of M c for n <= D, else of c M."""
    side = tl.minimum(n, dim)
    product = tl.zeros((TILE, TILE), tl.float32)
    for start in range(0, side, STEP):
        k = start + tl.arange(0, STEP)
        if n <= dim:
            left, right = _matrix(gram, i, k, side), _centred(source, mean, first, k, j, n, dim)
        else:
            left, right = _centred(source, mean, first, i, k, n, dim), _matrix(gram, k, j, side)
        product = tl.dot(left, right, product, input_precision="ieee")
    return product


@triton.jit
def _gradient(
    x, y, table, moments, gram, weights, grad_x, grad_y, plane, num_segments, dim, tiles, dim_tiles, gamma, eps,
    DELTA: tl.constexpr, TILE: tl.constexpr, STEP: tl.constexpr,
):  # fmt: skip
    """A tile of w_cov * (product - c s) - w_var * slope * c + w_inv * (x - y), weights with their factors."""
    place = tl.program_id(0).to(tl.int64)
    tile, segment, branch = place % tiles, place // tiles % num_segments, place // tiles // num_segments
    first = tl.load(table + segment)
    n = tl.load(table + segment + 1) - first
    if tile // dim_tiles * TILE >= n:
        return
    i = tile // dim_tiles * TILE + tl.arange(0, TILE)
    j = tile % dim_tiles * TILE + tl.arange(0, TILE)
    source, other, out = x, y, grad_x
    if branch == 1:
        source, other, out = y, x, grad_y
    mean = moments + branch * plane + segment * dim
    invariance, variance, covariance = _gradient_weights(weights, segment, num_segments, n, dim)
    product = tl.zeros((TILE, TILE), tl.float32)
    if covariance != 0.0:
        grams = table + num_segments + 1
        gram += branch * tl.load(grams + num_segments) + tl.load(grams + segment)
        product = _covariance_product(source, mean, gram, first, i, j, n, dim, TILE, STEP)
    s = tl.load(mean + 2 * plane + j, j < dim, other=0.0)
    freedom = tl.maximum(n - DELTA, 1).to(tl.float32)
    deviation = tl.sqrt(s / freedom + eps)
    slope = tl.where(gamma - deviation <= 0.0, 0.0, 1.0 / (freedom * deviation))
    scale = -variance * slope - tl.where(n <= dim, covariance * s, 0.0)
    inside = (i < n)[:, None] & (j < dim)[None, :]
    at = (first + i)[:, None] * dim + j[None, :]
    own = tl.load(source + at, inside, other=0.0).to(tl.float32)
    difference = own - tl.load(other + at, inside, other=0.0).to(tl.float32)
    centred = own - tl.load(mean + j, j < dim, other=0.0)[None, :]
    value = covariance * product + scale[None, :] * centred + invariance * difference
    tl.store(out + at, value.to(out.dtype.element_ty), inside)
