// Samples of a run of output pixels on the CPU.
//
// The map is computed for a whole chunk of pixels, one cell of each at a time; then each pixel goes through its rows of
// taps, one row at a time. Both are vector loops, of kChunk and kCellTaps lanes.
#pragma once

#include <cmath>

#include "warp/camera_map.h"
#include "warp/camera_warp.h"

namespace refkp {
namespace REFKP_ISA {
namespace {

constexpr int kChunk = 32;

// How many samples each pixel takes.
template <class Real>
struct Plan {
  alignas(64) Real cells_x[kChunk], cells_y[kChunk], taps_x[kChunk], taps_y[kChunk];
  int most_cells_x, most_cells_y;
  Real count(int k) const { return (cells_x[k] * taps_x[k]) * (cells_y[k] * taps_y[k]); }
};

// Where a cell lies: its neighbours partly outside the image, all inside, or all inside and none in the last row.
enum Where { kAbsent = -1, kBorder = 0, kInside = 1, kAboveLast = 2 };

// One cell of every pixel: its centre in the image, and the sides of its footprint along columns and rows.
template <class Real>
struct Cell {
  alignas(64) Real x[kChunk], y[kChunk], xc[kChunk], yc[kChunk], xr[kChunk], yr[kChunk];
  alignas(64) int32_t where[kChunk];  // kAbsent: no such cell, or beyond the fold
};

// A row of taps of one pixel: the first of their four neighbours as an offset in a channel, and the weights of all
// four, 0 for one outside.
template <class Real>
struct Taps {
  alignas(64) int32_t offset[kCellTaps];
  alignas(64) Real weight[4][kCellTaps];
};

// The image as taps see it.
template <class Real>
struct Raster {
  Real last_x, last_y, pair_x, pair_y;  // the last pixel, and the last that has one after it
  Real second_x, second_y;              // 1, or 0 where there is but one column or row
  int32_t stride_row, stride_column;
};

template <class Real>
Raster<Real> make_raster(const CameraWarpProblem& p) {
  const bool wide = p.in_width > 1, tall = p.in_height > 1;
  return {static_cast<Real>(p.in_width - 1), static_cast<Real>(p.in_height - 1),
          static_cast<Real>(wide ? p.in_width - 2 : 0), static_cast<Real>(tall ? p.in_height - 2 : 0),
          static_cast<Real>(wide), static_cast<Real>(tall),
          static_cast<int32_t>(p.stride_row), static_cast<int32_t>(p.stride_column)};
}

template <class Real>
int greatest(const Real* values) {
  int most = 1;
  for (int k = 0; k < kChunk; ++k) most = static_cast<int>(values[k]) > most ? static_cast<int>(values[k]) : most;
  return most;
}

template <class Real>
void make_plan(const CameraWarpProblem& p, const Camera<Real>& camera, int64_t column, int64_t row, Plan<Real>& plan) {
  const Camera<Real> local = camera;
  const Real first = static_cast<Real>(column), down = static_cast<Real>(row);
  const Real height = static_cast<Real>(p.in_height), width = static_cast<Real>(p.in_width);
  const Real shrinks = p.antialias ? 1 : 0;
  for (int k = 0; k < kChunk; ++k) {
    const Linear<Real> at = linearise(local, first + static_cast<Real>(k), down);
    const Real seen = may_see(local, at, height, width) ? shrinks : Real(0);
    sample_counts(seen * (at.xc * at.xc + at.yc * at.yc), plan.cells_x[k], plan.taps_x[k]);
    sample_counts(seen * (at.xr * at.xr + at.yr * at.yr), plan.cells_y[k], plan.taps_y[k]);
  }
  plan.most_cells_x = greatest(plan.cells_x);
  plan.most_cells_y = greatest(plan.cells_y);
}

// Cell (i, j) of the pixels from (column, row) on.
template <class Real>
void make_cell(const Raster<Real>& raster, const Camera<Real>& camera, const Plan<Real>& plan, int64_t column, int64_t row,
               int i, int j, Cell<Real>& cell) {
  const Camera<Real> local = camera;
  const Real first = static_cast<Real>(column), top = static_cast<Real>(row);
  const Real right = raster.last_x, bottom = raster.last_y, nth_x = static_cast<Real>(j), nth_y = static_cast<Real>(i);
  for (int k = 0; k < kChunk; ++k) {
    const Real size_x = 1 / plan.cells_x[k], size_y = 1 / plan.cells_y[k];
    const Real across = (nth_x + Real(0.5)) * size_x - Real(0.5), down = (nth_y + Real(0.5)) * size_y - Real(0.5);
    const Linear<Real> at = linearise(local, first + static_cast<Real>(k) + across, top + down);
    cell.x[k] = at.x;
    cell.y[k] = at.y;
    cell.xc[k] = at.xc * size_x;
    cell.yc[k] = at.yc * size_x;
    cell.xr[k] = at.xr * size_y;
    cell.yr[k] = at.yr * size_y;
    const Real reach_x = Real(0.5) * (std::fabs(cell.xc[k]) + std::fabs(cell.xr[k]));
    const Real reach_y = Real(0.5) * (std::fabs(cell.yc[k]) + std::fabs(cell.yr[k]));
    const int32_t inside = (at.x - reach_x >= 0) & (at.x + reach_x < right) & (at.y - reach_y >= 0) & (at.y + reach_y < bottom);
    const int32_t above = inside & (at.y + reach_y < bottom - 1);
    const int32_t present = is_before_fold(local, at) & (nth_x < plan.cells_x[k]) & (nth_y < plan.cells_y[k]);
    cell.where[k] = present ? inside + above : int32_t(kAbsent);
  }
}

// The parts of 1 that the pixels `first` and `first + 1` have at `at`; a pixel outside has none.
template <class Real>
inline __attribute__((always_inline)) void place(Real at, Real last, Real last_pair, Real second, Real& first, Real& lower,
                                                 Real& upper) {
  const Real low = at > -2 ? at : Real(-2);  // NaN too
  const Real clamped = low < last + 2 ? low : last + 2;
  const Real below = static_cast<Real>(static_cast<int32_t>(clamped + 2) - 2);  // or next to it: the weights are the same
  const Real inside = below > 0 ? below : Real(0);
  first = inside < last_pair ? inside : last_pair;
  const Real near = 1 - std::fabs(clamped - first), far = 1 - std::fabs(clamped - first - 1);
  lower = near > 0 ? near : Real(0);
  upper = far > 0 ? far * second : Real(0);
}

// Where the taps of a row are, from -1/2 to 1/2, by their number; the rest of the eight is not used.
template <class Real>
const Real* tap_places(Real taps) {
  alignas(64) static constexpr Real one[kCellTaps] = {};
  alignas(64) static constexpr Real four[kCellTaps] = {Real(-0.375), Real(-0.125), Real(0.125), Real(0.375)};
  alignas(64) static constexpr Real eight[kCellTaps] = {Real(-0.4375), Real(-0.3125), Real(-0.1875), Real(-0.0625),
                                                        Real(0.0625),  Real(0.1875),  Real(0.3125),  Real(0.4375)};
  return taps < 4 ? one : taps < 8 ? four : eight;
}

// A row of taps around (row_x, row_y), (step_x, step_y) the footprint along it, at the places `across`.
template <bool kInterior, class Real>
inline __attribute__((always_inline)) void make_taps(const Raster<Real>& raster, Real row_x, Real row_y, Real step_x,
                                                     Real step_y, const Real* across, Taps<Real>& taps) {
  for (int j = 0; j < kCellTaps; ++j) {
    const Real x = row_x + step_x * across[j], y = row_y + step_y * across[j];
    Real first_x, first_y, left, right, above, below;
    if (kInterior) {
      first_x = static_cast<Real>(static_cast<int32_t>(x));
      first_y = static_cast<Real>(static_cast<int32_t>(y));
      right = x - first_x;
      below = y - first_y;
      left = 1 - right;
      above = 1 - below;
    } else {
      place(x, raster.last_x, raster.pair_x, raster.second_x, first_x, left, right);
      place(y, raster.last_y, raster.pair_y, raster.second_y, first_y, above, below);
    }
    taps.offset[j] = static_cast<int32_t>(first_y) * raster.stride_row + static_cast<int32_t>(first_x) * raster.stride_column;
    taps.weight[0][j] = above * left;
    taps.weight[1][j] = above * right;
    taps.weight[2][j] = below * left;
    taps.weight[3][j] = below * right;
  }
}

// Calls visit(taps, number of them) for every row of taps of pixel k's cell.
template <bool kInterior, class Real, class Visit>
inline void for_each_row(const Raster<Real>& raster, const Plan<Real>& plan, const Cell<Real>& cell, int k, const Visit& visit) {
  const Real *across = tap_places(plan.taps_x[k]), *down = tap_places(plan.taps_y[k]);
  const int columns = static_cast<int>(plan.taps_x[k]), rows = static_cast<int>(plan.taps_y[k]);
  Taps<Real> taps;
  for (int i = 0; i < rows; ++i) {
    make_taps<kInterior>(raster, cell.x[k] + cell.xr[k] * down[i], cell.y[k] + cell.yr[k] * down[i], cell.xc[k],
                         cell.yc[k], across, taps);
    visit(taps, columns);
  }
}

// Calls visit(cell, k) for every cell of the first `count` pixels from (column, row) on, but for those beyond the fold.
template <class Real, class Visit>
void for_each_cell(const Raster<Real>& raster, const Camera<Real>& camera, const Plan<Real>& plan, int64_t column,
                   int64_t row, int count, const Visit& visit) {
  Cell<Real> cell;
  for (int i = 0; i < plan.most_cells_y; ++i) {
    for (int j = 0; j < plan.most_cells_x; ++j) {
      make_cell(raster, camera, plan, column, row, i, j, cell);
      for (int k = 0; k < count; ++k)
        if (cell.where[k] != kAbsent) visit(cell, k);
    }
  }
}

// The part of 1 that the taps have inside the image, summed.
template <class Real>
Real covered(const Taps<Real>& taps, int count) {
  Real sum = 0;
  for (int j = 0; j < count; ++j) sum += (taps.weight[0][j] + taps.weight[1][j]) + (taps.weight[2][j] + taps.weight[3][j]);
  return sum;
}

}  // namespace
}  // namespace REFKP_ISA
}  // namespace refkp
