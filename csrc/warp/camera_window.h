// What a run of output pixels covers of the image on the CPU, and with which weights.
//
// Footprints are found for a whole chunk of pixels. Each pixel then goes through the rows that it covers, whose places are
// found kLanes at once, and through each row in strips of kLanes columns. All of it is vector arithmetic.
#pragma once

#include "common/lanes.h"
#include "warp/camera_map.h"
#include "warp/camera_warp.h"

namespace refkp {
namespace REFKP_ISA {
namespace {

constexpr int kChunk = 32;

// The rows of a window from one on.
template <class Real>
struct Rows {
  alignas(64) Real weight[kLanes<Real>], start[kLanes<Real>];  // start: of the first column, from the middle of the row
  alignas(64) Whole<Real> left[kLanes<Real>];                  // first column, 0 or more
};

// The footprints of a chunk of pixels.
template <class Real>
struct Windows {
  alignas(64) Real x[kChunk], y[kChunk], shear[kChunk], scale[kChunk];
  alignas(64) Real half_x[kChunk], curve_x[kChunk], half_y[kChunk], curve_y[kChunk];
  alignas(64) Real last_left[kChunk];                    // the greatest first column that a row may have
  alignas(64) int32_t top[kChunk], bottom[kChunk];       // rows inside the image; none where bottom < top
  alignas(64) int32_t strips[kChunk];                    // that hold all columns of any row
  alignas(64) int32_t inside[kChunk], readable[kChunk];  // all lies inside the image; strips may be read to their end
  Rows<Real> rows[kChunk];                               // the first kLanes of each
};

template <class Real>
REFKP_INLINE Real clamp(Real value, Real low, Real high) {
  const Real above = value > low ? value : low;  // low for NaN
  return above < high ? above : high;
}

template <class Real>
REFKP_INLINE int32_t floor_whole(Real value) {
  const int32_t cut = static_cast<int32_t>(value);
  return cut - (static_cast<Real>(cut) > value ? 1 : 0);
}

// Where a strip may be read to its end although pixels after it are not its row's: when it ends by `columns`, or in the
// first `rows`.
struct Readable {
  int32_t columns, rows;
};

// `together`: channels that lie side by side.
template <class Real>
Readable find_readable(const CameraWarpProblem& p, int64_t together) {
  const bool whole_pixels = together == p.stride_column;
  const bool room = p.stride_row + together >= (kLanes<Real> + 1) * p.stride_column;
  return {static_cast<int32_t>(whole_pixels ? p.in_width : p.in_width - 1), static_cast<int32_t>(room ? p.in_height - 1 : 0)};
}

// Weights at distances from the middle of a side, without its scale (Tent).
template <class Real>
REFKP_INLINE Lanes<Real> weigh(Lanes<Real> distance, Real half, Real curve) {
  const Lanes<Real> away = magnitude<Real>(distance), one = splat(Real(1));
  const Lanes<Real> t = smaller(larger(half - away, splat(-2 * curve)), one);
  const Lanes<Real> weight = curve + t * (one - curve * magnitude<Real>(t));
  if (half >= 1) return weight;
  const Lanes<Real> s = larger((1 - half) - away, splat(Real(0)));
  return weight - curve * s * s;
}

template <class Real>
REFKP_INLINE void find_rows(const Windows<Real>& w, int k, int top, Rows<Real>& rows) {
  const Lanes<Real> down = (static_cast<Real>(top) - w.y[k]) + lane_numbers<Real>();
  const Lanes<Real> x = w.x[k] + w.shear[k] * down, last = splat(w.last_left[k]);
  const Lanes<Real> edge = x - (w.half_x[k] + 2 * w.curve_x[k]);
  const Lanes<Real> left = smaller(floor_lanes<Real>(smaller(larger(edge, splat(Real(-1))), last)) + 1, last);
  store<Real>(rows.weight, w.scale[k] * weigh<Real>(down, w.half_y[k], w.curve_y[k]));
  store<Real>(rows.start, left - x);
  const WholeLanes<Real> column = __builtin_convertvector(left, WholeLanes<Real>);
  std::memcpy(rows.left, &column, sizeof(column));
}

// Of the pixels from (column, row) on.
template <class Real>
void find_windows(const CameraWarpProblem& p, const Camera<Real>& camera, int64_t column, int64_t row, Readable to,
                  Windows<Real>& w) {
  const Camera<Real> local = camera;
  const Real first = static_cast<Real>(column), line = static_cast<Real>(row);
  const Real width = static_cast<Real>(p.in_width), height = static_cast<Real>(p.in_height);
  const bool antialias = p.antialias;
  for (int k = 0; k < kChunk; ++k) {
    const Linear<Real> at = linearise(local, first + static_cast<Real>(k), line);
    const Footprint<Real> foot = find_footprint(at, antialias);
    const Tent<Real> across(foot.width), down(foot.height);
    const Real reach_x = across.reach(), reach_y = down.reach();
    const Real swing = std::fabs(foot.shear) * reach_y, lean = swing + reach_x;
    const bool present = is_before_fold(local, at) & (at.x + lean > -1) & (at.x - lean < width);
    const int32_t top = floor_whole(clamp(at.y - reach_y, Real(-1), height)) + 1;
    const int32_t bottom = -floor_whole(-clamp(at.y + reach_y, Real(-1), height)) - 1;
    const int32_t last_left = floor_whole(clamp(at.x + swing - reach_x, Real(-1), width)) + 1;
    const int32_t strips = (-floor_whole(-clamp(2 * reach_x, Real(0), width + 2)) + kLanes<Real> - 1) / kLanes<Real>;
    const int32_t inside =
        present & (at.x - lean >= -1) & (at.x + lean <= width) & (at.y - reach_y >= -1) & (at.y + reach_y <= height);
    w.x[k] = at.x;
    w.y[k] = at.y;
    w.shear[k] = foot.shear;
    w.scale[k] = across.scale * down.scale;
    w.half_x[k] = across.half;
    w.curve_x[k] = across.curve;
    w.half_y[k] = down.half;
    w.curve_y[k] = down.curve;
    w.last_left[k] = static_cast<Real>(last_left);
    w.top[k] = top;
    w.bottom[k] = present ? bottom : -1;
    w.strips[k] = strips;
    w.inside[k] = inside;
    w.readable[k] = inside & ((last_left + strips * kLanes<Real> <= to.columns) | (bottom < to.rows));
  }
  for (int k = 0; k < kChunk; ++k) find_rows(w, k, w.top[k], w.rows[k]);
}

// Calls visit(row, column, weights) for the strips of window k. Unless kInner, where all lie inside the image, weights of
// columns beyond it are 0.
template <bool kInner, class Real, class Visit>
REFKP_INLINE void for_each_strip(const Windows<Real>& w, int k, int64_t width, const Visit& visit) {
  const Real half = w.half_x[k], curve = w.curve_x[k], reach = half + 2 * curve;
  const int bottom = w.bottom[k];
  Rows<Real> more;
  for (int top = w.top[k]; top <= bottom; top += kLanes<Real>) {
    if (top != w.top[k]) find_rows(w, k, top, more);
    const Rows<Real>& rows = top == w.top[k] ? w.rows[k] : more;
    const int end = bottom - top < kLanes<Real> ? bottom + 1 : top + kLanes<Real>;
    for (int row = top; row < end; ++row) {
      const Real start = rows.start[row - top], scale = rows.weight[row - top];
      if (!kInner && !(start < reach)) continue;  // the row ends before the image
      int64_t column = rows.left[row - top];
      int strips = w.strips[k];
      Lanes<Real> distance = start + lane_numbers<Real>();
      do {
        Lanes<Real> weight = scale * weigh<Real>(distance, half, curve);
        if (!kInner) {
          if (column >= width) break;
          weight = lane_numbers<Real>() < static_cast<Real>(width - column) ? weight : splat(Real(0));
        }
        visit(row, column, weight);
        column += kLanes<Real>;
        distance += Real(kLanes<Real>);
      } while (--strips > 0);
    }
  }
}

}  // namespace
}  // namespace REFKP_ISA
}  // namespace refkp
