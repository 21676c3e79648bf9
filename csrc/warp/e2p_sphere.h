// Directions to positions in an equirectangular image, for the host and the device.
//
// A float32 column of 8192 has steps of 5e-4 px, so a position is never held as one number: the octant of the direction
// gives an anchor that is exact in quarter pixels, and only the rest of at most W/8 px passes through atan and rounding.
#pragma once

#include <cmath>
#include <cstring>

#include "common/host_device.h"
#include "warp/bilinear_taps.h"
#include "warp/e2p.h"

namespace refkp {
namespace {

template <class Real>
struct Sphere {
  Real column_per_radian, row_per_radian;
  int height, width, quarter_shift;  // the index shift in quarter pixels
  int half_turn;                     // columns to the pixel across the pole; 0 where rows are clamped
  int stride_row, stride_column;
  bool equilib;
};

// A pixel and the fraction of the way to the next one: column in [0, W), row in [-1, H-1] (equilib: [0, H-1]).
template <class Real>
struct Position {
  int column, row;
  Real column_fraction, row_fraction;
};

template <class Real>
inline Sphere<Real> make_sphere(const E2pGeometry& g) {
  const double pi = 3.14159265358979323846;
  Sphere<Real> sphere;
  sphere.column_per_radian = static_cast<Real>(g.erp_width / (2 * pi));
  sphere.row_per_radian = static_cast<Real>(g.erp_height / pi);
  sphere.height = static_cast<int>(g.erp_height);
  sphere.width = static_cast<int>(g.erp_width);
  sphere.quarter_shift = g.equilib ? 2 : -2;
  sphere.half_turn = g.equilib ? 0 : sphere.width / 2;
  sphere.stride_row = static_cast<int>(g.stride_row);
  sphere.stride_column = static_cast<int>(g.stride_column);
  sphere.equilib = g.equilib;
  return sphere;
}

// atan of a ratio in [0, 1]. The float32 polynomial is a minimax fit of atan(q)/q in q^2; measured error 5.7e-8 rad.
REFKP_HOST_DEVICE_INLINE float atan_ratio(float q) {
  const float u = q * q;
  float tail = -0.00175393012f;
  tail = tail * u + 0.0107269436f;
  tail = tail * u - 0.0308045968f;
  tail = tail * u + 0.057552103f;
  tail = tail * u - 0.0837731585f;
  tail = tail * u + 0.109420307f;
  tail = tail * u - 0.142619327f;
  tail = tail * u + 0.199982658f;
  tail = tail * u - 0.333332837f;
  return q + q * (u * tail);
}
REFKP_HOST_DEVICE_INLINE double atan_ratio(double q) { return atan(q); }

REFKP_HOST_DEVICE_INLINE float square_root(float value) { return sqrtf(value); }
REFKP_HOST_DEVICE_INLINE double square_root(double value) { return sqrt(value); }
REFKP_HOST_DEVICE_INLINE float round_down(float value) { return floorf(value); }
REFKP_HOST_DEVICE_INLINE double round_down(double value) { return floor(value); }

template <class Real>
REFKP_HOST_DEVICE_INLINE Real larger(Real a, Real b) { return a > b ? a : b; }
template <class Real>
REFKP_HOST_DEVICE_INLINE Real smaller(Real a, Real b) { return a > b ? b : a; }

// atan of the smaller over the larger of two magnitudes; 0 for two zeros.
template <class Real>
REFKP_HOST_DEVICE_INLINE Real folded_angle(Real a, Real b) {
  return atan_ratio(smaller(a, b) / larger(larger(a, b), Real(1e-30)));
}

// Length of (a, b), the same bit for bit as that of (b, a), also where the compiler fuses one product into the sum.
template <class Real>
REFKP_HOST_DEVICE_INLINE Real length(Real a, Real b) {
  const Real small = smaller(a, b), large = larger(a, b);
  return square_root(large * large + small * small);
}

// Splits anchor / 4 + rest into floor and fraction; the anchor is an integer, so nothing of the rest is lost.
template <class Real>
REFKP_HOST_DEVICE_INLINE void split(int quarter_anchor, Real rest, int& whole, Real& fraction) {
  const Real shifted = rest + Real(0.25) * static_cast<Real>(quarter_anchor & 3);
  const Real below = round_down(shifted);
  whole = (quarter_anchor >> 2) + static_cast<int>(below);
  fraction = shifted - below;
}

REFKP_HOST_DEVICE_INLINE int wrap(int column, int width) {
  column = column < 0 ? column + width : column;
  return column >= width ? column - width : column;
}

// A direction this close to a pole, in radians, has longitude 0: its own is nothing but rounding.
REFKP_HOST_DEVICE_INLINE float pole_radius(float) { return 1e-6f; }
REFKP_HOST_DEVICE_INLINE double pole_radius(double) { return 1e-14; }

template <class Real>
REFKP_HOST_DEVICE_INLINE Position<Real> locate(const Sphere<Real>& sphere, Real x, Real y, Real z) {
  Position<Real> at;
  // Longitude: 0, a quarter or half a turn as the anchor, signed like x, then the folded angle towards or away from it.
  const Real abs_x = x < 0 ? -x : x, abs_z = z < 0 ? -z : z;
  const Real level = length(abs_x, abs_z), abs_y = y < 0 ? -y : y;
  const bool at_pole = level <= pole_radius(Real(0)) * abs_y;  // not for NaN, which has to come through
  const bool sideways = !at_pole & (abs_x > abs_z), backwards = !at_pole & (z < 0);
  const int quarters = sideways ? 1 : (backwards ? 2 : 0);
  const Real across = at_pole ? Real(0) : folded_angle(abs_x, abs_z) * sphere.column_per_radian;
  const bool mirrored = (sideways != backwards) != (x < 0);
  split((2 + (x < 0 ? -quarters : quarters)) * sphere.width + sphere.quarter_shift, mirrored ? -across : across, at.column,
        at.column_fraction);
  at.column = wrap(at.column, sphere.width);
  // Latitude: the equator or a pole as the anchor; rows grow downwards.
  const bool steep = abs_y > level;
  const Real along = folded_angle(abs_y, level) * sphere.row_per_radian;
  const int pole = steep ? (y < 0 ? 4 : 0) : 2;
  split(pole * sphere.height + sphere.quarter_shift, steep == (y < 0) ? -along : along, at.row, at.row_fraction);
  const bool below_last = sphere.equilib && at.row >= sphere.height - 1;
  at.row = below_last ? sphere.height - 1 : at.row;
  at.row_fraction = below_last ? Real(0) : at.row_fraction;
  return at;
}

// Element offset of a pixel whose row may lie one beyond an edge and whose column is in [0, W].
template <class Real>
REFKP_HOST_DEVICE_INLINE int tap_offset(const Sphere<Real>& sphere, int row, int column) {
  const bool across = row < 0 || row >= sphere.height;
  const int inside = row < 0 ? 0 : (row >= sphere.height ? sphere.height - 1 : row);
  const int turned = wrap(wrap(column, sphere.width) + (across ? sphere.half_turn : 0), sphere.width);
  return inside * sphere.stride_row + turned * sphere.stride_column;
}

// Element offset of the pixel nearest to a position: halves go up, or to even in the equilib convention.
template <class Real>
REFKP_HOST_DEVICE_INLINE int nearest_offset(const Sphere<Real>& sphere, const Position<Real>& at) {
  const Real half = Real(0.5);
  const bool keep_even = sphere.equilib;
  const bool right = at.column_fraction > half || (at.column_fraction == half && !(keep_even && at.column % 2 == 0));
  const bool down = at.row_fraction > half || (at.row_fraction == half && !(keep_even && at.row % 2 == 0));
  return tap_offset(sphere, at.row + (down ? 1 : 0), at.column + (right ? 1 : 0));
}

// ---- the pyramid ----

// The geometry of level `level` in a pyramid, and the elements of the levels 1 to level - 1 before it.
REFKP_HOST_DEVICE_INLINE E2pGeometry level_geometry(E2pGeometry g, int64_t level) {
  if (level == 0) return g;
  g.erp_height >>= level, g.erp_width >>= level;
  g.stride_column = 1, g.stride_row = g.erp_width, g.stride_channel = g.erp_height * g.erp_width;
  g.stride_image = g.num_channels * g.stride_channel;
  return g;
}
REFKP_HOST_DEVICE_INLINE int64_t level_offset(const E2pGeometry& g, int64_t level) {
  int64_t elements = 0;
  for (int64_t l = 1; l < level; ++l) elements += g.num_images * g.num_channels * (g.erp_height >> l) * (g.erp_width >> l);
  return elements;
}

// The image of level `level` >= 1. Its radians per pixel are those of level 0: positions come from `coarsen`.
template <class Real>
REFKP_HOST_DEVICE_INLINE Sphere<Real> coarse_sphere(Sphere<Real> sphere, int level) {
  sphere.height >>= level, sphere.width >>= level, sphere.half_turn >>= level;
  sphere.stride_row = sphere.width, sphere.stride_column = 1;
  return sphere;
}

// (index + fraction + 1/2) / 2^level - 1/2 in whole and fraction, for a level >= 1.
template <class Real>
REFKP_HOST_DEVICE_INLINE void shrink(int level, int& index, Real& fraction) {
  const Real halves = 2 * fraction;
  const int up = halves >= 1 ? 1 : 0, shifted = 2 * index + up + 1 - (1 << level), size = 2 << level;
  index = shifted >> (level + 1);
  fraction = (static_cast<Real>(shifted & (size - 1)) + (halves - up)) / static_cast<Real>(size);
}

// The position in level `level` >= 1, whose pixels cover 2^level rows and columns of the image.
template <class Real>
REFKP_HOST_DEVICE_INLINE Position<Real> coarsen(const Sphere<Real>& coarse, Position<Real> at, int level) {
  shrink(level, at.column, at.column_fraction);
  shrink(level, at.row, at.row_fraction);
  at.column = wrap(at.column, coarse.width);
  return at;
}

// log2 of a positive number; far below zero for 0. In float32 by its series around powers of two: error 1e-7.
REFKP_HOST_DEVICE_INLINE float binary_logarithm(float value) {
  int32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  const int32_t exponent = (bits - 0x3f3504f3) >> 23, mantissa_bits = bits - exponent * (1 << 23);  // 0x3f3504f3: sqrt(1/2)
  float mantissa;
  memcpy(&mantissa, &mantissa_bits, sizeof(mantissa));
  const float q = (mantissa - 1) / (mantissa + 1), u = q * q;
  return static_cast<float>(exponent) + 2.88539008f * (q + q * u * (0.333333333f + u * (0.2f + u * 0.142857143f)));
}
REFKP_HOST_DEVICE_INLINE double binary_logarithm(double value) { return log2(value); }

// The tangents of a tile's columns and rows, and its steps squared, as the level of a sample depends on them.
template <class Real>
struct Grid {
  Real step_x, start_x, step_y, start_y, span_x, span_y, num_levels;
};

template <class Real>
REFKP_HOST_DEVICE_INLINE Grid<Real> make_grid(const E2pGeometry& g, const Sphere<Real>& sphere, int64_t tile) {
  const double* grid = g.grid + 4 * tile;
  const Real pixels = larger(sphere.column_per_radian, sphere.row_per_radian) / static_cast<Real>(g.samples[tile]);
  const Real half = Real(0.5) * pixels * pixels;  // a side squared over two is the half of a level less
  const Real step_x = static_cast<Real>(grid[0]), step_y = static_cast<Real>(grid[2]);
  return {step_x, static_cast<Real>(grid[1]), step_y, static_cast<Real>(grid[3]), half * step_x * step_x,
          half * step_y * step_y, static_cast<Real>(g.num_levels)};
}

// The level of the sample at a place of the tile, in [0, num_levels].
template <class Real>
REFKP_HOST_DEVICE_INLINE Real sample_level(const Grid<Real>& grid, Real column, Real row) {
  const Real t = grid.start_x + grid.step_x * column, u = grid.start_y + grid.step_y * row;
  const Real across = 1 + u * u, down = 1 + t * t, reach = across + t * t;
  const Real level = Real(0.5) * binary_logarithm(larger(grid.span_x * across, grid.span_y * down) / (reach * reach));
  return smaller(larger(level, Real(0)), grid.num_levels);
}

// The share of level `level` in a sample: the closer of two levels counts more.
template <class Real>
REFKP_HOST_DEVICE_INLINE Real level_share(Real sample_level, int level) {
  const Real distance = sample_level - static_cast<Real>(level);
  return larger(Real(1) - (distance < 0 ? -distance : distance), Real(0));
}

}  // namespace
}  // namespace refkp
