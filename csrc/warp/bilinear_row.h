// One output row of a bilinear warp on the CPU: its taps, sampling by them, and scattering a gradient back through them.
//
// A gradient is scattered by one thread a plane, row after row, so the order of additions is fixed. Four planes go
// together, interleaved pixel by pixel in a scratch image: a tap is then one vector operation for all four, which was
// measured three times as fast as adding to each plane.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "common/simd.h"
#include "warp/bilinear_taps.h"
#include "warp/pixel_map.h"

namespace refkp {
namespace REFKP_ISA {
namespace {

// Planes that are scattered together.
constexpr int64_t kGroup = 4;

// A turned row crosses many rows of the image, which no hardware prefetcher follows; asking for the lines of a later
// row in time was measured to halve the time of large images. Anything from 4 to 32 rows does.
constexpr int64_t kRowsAhead = 8;

// Taps of the pixels j of one output row. The pixels of [begin, end) have at least one tap inside the image, those of
// [inner_begin, inner_end) all four; both are intervals because px and py are monotone in j.
template <typename T>
struct BilinearRow {
  int32_t* x0;      // column and row of the upper left tap, may lie outside
  int32_t* y0;
  int32_t* offset;  // y0 * width + x0
  T* wx;            // weight of the right and of the lower taps
  T* wy;
  int64_t begin, end, inner_begin, inner_end;
  int64_t ahead;  // from a tap to the tap that the pixel kRowsAhead rows below will read, in elements

  explicit BilinearRow(int64_t width)
      : x0(new int32_t[width]), y0(new int32_t[width]), offset(new int32_t[width]), wx(new T[width]), wy(new T[width]) {}
  ~BilinearRow() {
    delete[] x0;
    delete[] y0;
    delete[] offset;
    delete[] wx;
    delete[] wy;
  }
  BilinearRow(const BilinearRow&) = delete;
  BilinearRow& operator=(const BilinearRow&) = delete;
};

// Positions are formed in double for every T: in float32 a position near 300 is known to 2e-5 pixels only, and the
// weights inherit that error. All channels share the taps, so the cost is small.
template <typename T>
void compute_taps(const PixelMap& map, int64_t row, int64_t in_height, int64_t in_width, int64_t out_width,
                  BilinearRow<T>& taps) {
  const double base_x = map.m01 * static_cast<double>(row) + map.c0;
  const double base_y = map.m11 * static_cast<double>(row) + map.c1;
  const double step_x = map.m00, step_y = map.m10;
  // Far outside is all the same; the clamp keeps the conversion to int32 defined, for NaN too.
  const double low = -2, high_x = static_cast<double>(in_width + 1), high_y = static_cast<double>(in_height + 1);
  const int32_t width = static_cast<int32_t>(in_width);
  int32_t* __restrict__ x0 = taps.x0;
  int32_t* __restrict__ y0 = taps.y0;
  int32_t* __restrict__ offset = taps.offset;
  T* __restrict__ wx = taps.wx;
  T* __restrict__ wy = taps.wy;
  const int32_t count = static_cast<int32_t>(out_width);
  for (int32_t j = 0; j < count; ++j) {
    double px = step_x * j + base_x;
    double py = step_y * j + base_y;
    px = px > low ? (px < high_x ? px : high_x) : low;
    py = py > low ? (py < high_y ? py : high_y) : low;
    const double floor_x = std::floor(px), floor_y = std::floor(py);
    wx[j] = static_cast<T>(px - floor_x);
    wy[j] = static_cast<T>(py - floor_y);
    x0[j] = static_cast<int32_t>(floor_x);
    y0[j] = static_cast<int32_t>(floor_y);
    offset[j] = y0[j] * width + x0[j];
  }
  const auto shift = [](double step) { return static_cast<int64_t>(std::fmax(-1e6, std::fmin(1e6, step * kRowsAhead))); };
  taps.ahead = shift(map.m11) * in_width + shift(map.m01);
  const auto touches = [&](int64_t j) {
    return x0[j] >= -1 && x0[j] < in_width && y0[j] >= -1 && y0[j] < in_height;
  };
  const auto inside = [&](int64_t j) {
    return x0[j] >= 0 && x0[j] < in_width - 1 && y0[j] >= 0 && y0[j] < in_height - 1;
  };
  taps.begin = 0;
  taps.end = out_width;
  while (taps.begin < taps.end && !touches(taps.begin)) ++taps.begin;
  while (taps.end > taps.begin && !touches(taps.end - 1)) --taps.end;
  taps.inner_begin = taps.begin;
  taps.inner_end = taps.end;
  while (taps.inner_begin < taps.inner_end && !inside(taps.inner_begin)) ++taps.inner_begin;
  while (taps.inner_end > taps.inner_begin && !inside(taps.inner_end - 1)) --taps.inner_end;
}

// The four values and inside flags of one pixel near the border; taps outside the plane read as zero.
template <typename T>
struct BorderTaps {
  T value[4];
  T weight[4];  // zero outside
  int64_t index[4];
};

template <typename T>
BorderTaps<T> border_taps(const BilinearRow<T>& taps, int64_t j, const T* plane, int64_t height, int64_t width) {
  BorderTaps<T> out;
  const T wx = taps.wx[j], wy = taps.wy[j];
  const T weights[4] = {(1 - wx) * (1 - wy), wx * (1 - wy), (1 - wx) * wy, wx * wy};
  for (int k = 0; k < 4; ++k) {
    const int64_t x = taps.x0[j] + (k & 1), y = taps.y0[j] + (k >> 1);
    const bool in = x >= 0 && x < width && y >= 0 && y < height;
    out.index[k] = in ? y * width + x : -1;
    out.weight[k] = in ? weights[k] : T(0);
    out.value[k] = in && plane != nullptr ? plane[y * width + x] : T(0);
  }
  return out;
}

// The four values around one inner pixel.
template <typename T>
struct Square {
  T upper_left, upper_right, lower_left, lower_right;
};

template <typename T>
Square<T> fetch_square(const T* plane, int64_t width, int32_t offset) {
  const T* top = plane + offset;
  return {top[0], top[1], top[width], top[width + 1]};
}

// Whether any of `count` values is NaN or infinite.
template <typename T>
bool any_not_finite(const T* values, int64_t count) {
  int broken = 0;
  for (int64_t j = 0; j < count; ++j) broken |= !(values[j] - values[j] == T(0));
  return broken != 0;
}

#ifdef REFKP_HAS_FLOAT_PAIRS

// The squares around kPairLanes inner pixels from j on.
struct SquareLanes {
  FloatLanes upper_left, upper_right, lower_left, lower_right;
};

inline SquareLanes fetch_square_lanes(const float* plane, int64_t width, const BilinearRow<float>& taps, int64_t j) {
  const int32_t* offset = taps.offset + j;
  __builtin_prefetch(plane + offset[0] + taps.ahead);
  __builtin_prefetch(plane + offset[kPairLanes - 1] + taps.ahead);
  SquareLanes v;
  gather_pairs(plane, offset, v.upper_left, v.upper_right);
  gather_pairs(plane + width, offset, v.lower_left, v.lower_right);
  return v;
}

#endif

// out[j] = bilinear value of `plane` at the inner pixels of the row. Differences are quick, and keep a constant constant,
// but would turn infinities to NaN and spread what is not finite to pixels that do not read it.
template <typename T>
void sample_inner(const T* plane, int64_t width, const BilinearRow<T>& taps, T* out) {
  int64_t j = taps.inner_begin;
#ifdef REFKP_HAS_FLOAT_PAIRS
  if constexpr (sizeof(T) == sizeof(float)) {
    for (; j + kPairLanes <= taps.inner_end; j += kPairLanes) {
      const SquareLanes v = fetch_square_lanes(plane, width, taps, j);
      const FloatLanes wx = load_lanes(taps.wx + j);
      const FloatLanes upper = lerp_lanes(v.upper_left, v.upper_right, wx);
      const FloatLanes lower = lerp_lanes(v.lower_left, v.lower_right, wx);
      store_lanes(out + j, lerp_lanes(upper, lower, load_lanes(taps.wy + j)));
    }
  }
#endif
  for (; j < taps.inner_end; ++j) {
    const Square<T> v = fetch_square(plane, width, taps.offset[j]);
    const T upper = v.upper_left + taps.wx[j] * (v.upper_right - v.upper_left);
    const T lower = v.lower_left + taps.wx[j] * (v.lower_right - v.lower_left);
    out[j] = upper + taps.wy[j] * (lower - upper);
  }
  if (!any_not_finite(out + taps.inner_begin, taps.inner_end - taps.inner_begin)) return;
  for (j = taps.inner_begin; j < taps.inner_end; ++j) {
    if (!any_not_finite(out + j, 1)) continue;
    const Square<T> v = fetch_square(plane, width, taps.offset[j]);
    out[j] = weighted_sum(v.upper_left, v.upper_right, v.lower_left, v.lower_right, taps.wx[j], taps.wy[j]);
  }
}

// out[j] = bilinear value of `plane`, blended with `fill` by the coverage of the image, for a whole row.
template <typename T>
void sample_row(const T* plane, int64_t height, int64_t width, int64_t out_width, const BilinearRow<T>& taps, T fill,
                T* out) {
  for (int64_t j = 0; j < taps.begin; ++j) out[j] = fill;
  for (int64_t j = taps.end; j < out_width; ++j) out[j] = fill;
  const auto border = [&](int64_t begin, int64_t end) {
    for (int64_t j = begin; j < end; ++j) {
      const BorderTaps<T> t = border_taps(taps, j, plane, height, width);
      T value = 0, coverage = 0;
      for (int k = 0; k < 4; ++k) {
        if (t.weight[k] != 0) value += t.weight[k] * t.value[k];
        coverage += t.weight[k];
      }
      out[j] = value + (1 - coverage) * fill;
    }
  };
  border(taps.begin, taps.inner_begin);
  sample_inner(plane, width, taps, out);
  border(taps.inner_end, taps.end);
}

// Up to four planes whose gradient is being scattered: pixel q of plane c is at sums[kGroup * q + c].
template <typename T>
struct InterleavedPlanes {
  int64_t height, width;
  T* sums;
  T* row;   // one interleaved row of the incoming gradient
  T* zeros; // stands in for planes that are missing in the last group

  InterleavedPlanes(int64_t in_height, int64_t in_width, int64_t out_width)
      : height(in_height), width(in_width), sums(new T[kGroup * in_height * in_width]), row(new T[kGroup * out_width]),
        zeros(new T[out_width]()) {}
  ~InterleavedPlanes() {
    delete[] sums;
    delete[] row;
    delete[] zeros;
  }
  InterleavedPlanes(const InterleavedPlanes&) = delete;
  InterleavedPlanes& operator=(const InterleavedPlanes&) = delete;

  void clear() { std::memset(sums, 0, sizeof(T) * static_cast<size_t>(kGroup * height * width)); }
};

// The four values of a pixel as one vector. (Eight planes at once were measured no faster.) The type keeps the compiler from merging neighbouring pixels into wider
// vectors: the next pixel would then load half of a store that is still under way, and wait for it.
template <typename T>
struct Quad {
  typedef T Vector __attribute__((vector_size(kGroup * sizeof(T))));
};

// A tap without weight gets nothing, be the value NaN.
template <typename T>
void add_weighted(T weight, typename Quad<T>::Vector value, T* to) {
  if (weight == 0) return;
  typename Quad<T>::Vector sum;
  std::memcpy(&sum, to, sizeof(sum));
  sum += weight * value;
  std::memcpy(to, &sum, sizeof(sum));
}

template <typename T>
typename Quad<T>::Vector load_quad(const T* from) {
  typename Quad<T>::Vector value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

// Adds one row of `channels` gradients, `stride` elements apart, through its taps.
template <typename T>
void scatter_row(const T* grad, int64_t stride, int64_t channels, int64_t out_width, const BilinearRow<T>& taps,
                 InterleavedPlanes<T>& planes) {
  const T* g[kGroup];
  for (int64_t c = 0; c < kGroup; ++c) g[c] = c < channels ? grad + c * stride : planes.zeros;
  T* __restrict__ row = planes.row;
  for (int64_t j = 0; j < out_width; ++j)
    for (int64_t c = 0; c < kGroup; ++c) row[kGroup * j + c] = g[c][j];
  const auto border = [&](int64_t begin, int64_t end) {
    for (int64_t j = begin; j < end; ++j) {
      const BorderTaps<T> t = border_taps<T>(taps, j, nullptr, planes.height, planes.width);
      for (int k = 0; k < 4; ++k)
        if (t.index[k] >= 0) add_weighted(t.weight[k], load_quad(row + kGroup * j), planes.sums + kGroup * t.index[k]);
    }
  };
  border(taps.begin, taps.inner_begin);
  for (int64_t j = taps.inner_begin; j < taps.inner_end; ++j) {
    const T wx = taps.wx[j], wy = taps.wy[j];
    const typename Quad<T>::Vector value = load_quad(row + kGroup * j);
    T* upper = planes.sums + kGroup * static_cast<int64_t>(taps.offset[j]);
    T* lower = upper + kGroup * planes.width;
    add_weighted((1 - wx) * (1 - wy), value, upper);
    add_weighted(wx * (1 - wy), value, upper + kGroup);
    add_weighted((1 - wx) * wy, value, lower);
    add_weighted(wx * wy, value, lower + kGroup);
  }
  border(taps.inner_end, taps.end);
}

// Writes the sums to the first `channels` of contiguous planes.
template <typename T>
void write_planes(const InterleavedPlanes<T>& planes, int64_t channels, T* __restrict__ out) {
  const int64_t plane = planes.height * planes.width;
  const T* __restrict__ sums = planes.sums;
  if (channels == kGroup) {
    T* __restrict__ b = out + plane;
    T* __restrict__ c = b + plane;
    T* __restrict__ d = c + plane;
    for (int64_t q = 0; q < plane; ++q) {
      out[q] = sums[kGroup * q];
      b[q] = sums[kGroup * q + 1];
      c[q] = sums[kGroup * q + 2];
      d[q] = sums[kGroup * q + 3];
    }
    return;
  }
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t q = 0; q < plane; ++q) out[c * plane + q] = sums[kGroup * q + c];
}

}  // namespace
}  // namespace REFKP_ISA
}  // namespace refkp
