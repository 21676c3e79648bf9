// Directions to positions in an equirectangular image, for the host and the device.
//
// A float32 column of 8192 has steps of 5e-4 px, so a position is never held as one number: the octant of the direction
// gives an anchor that is exact in quarter pixels, and only the rest of at most W/8 px passes through atan and rounding.
#pragma once

#include <cmath>

#include "common/host_device.h"
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

template <class Real>
REFKP_HOST_DEVICE_INLINE Position<Real> locate(const Sphere<Real>& sphere, Real x, Real y, Real z) {
  Position<Real> at;
  // Longitude: 0, a quarter or half a turn as the anchor, signed like x, then the folded angle towards or away from it.
  const Real abs_x = x < 0 ? -x : x, abs_z = z < 0 ? -z : z;
  const bool sideways = abs_x > abs_z, backwards = z < 0;
  const int quarters = sideways ? 1 : (backwards ? 2 : 0);
  const Real across = folded_angle(abs_x, abs_z) * sphere.column_per_radian;
  const bool mirrored = (sideways != backwards) != (x < 0);
  split((2 + (x < 0 ? -quarters : quarters)) * sphere.width + sphere.quarter_shift, mirrored ? -across : across, at.column,
        at.column_fraction);
  at.column = wrap(at.column, sphere.width);
  // Latitude: the equator or a pole as the anchor; rows grow downwards.
  const Real level = length(abs_x, abs_z), abs_y = y < 0 ? -y : y;
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

}  // namespace
}  // namespace refkp
