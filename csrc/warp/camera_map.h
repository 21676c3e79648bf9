// The map of camera_warp, for the host and the device: from an output pixel to the raw image, and how far it stretches.
//
// A camera is kCameraSize doubles, formed in Python (cameras.py):
//   pixel [2,3]  output pixel (column, row) to the ideal pixel, both as indices, centres whole
//   ray [2,3]    output pixel to (u, v), the ideal pixel on the plane at distance 1
//   focal [2,2]  the linear part of the intrinsics
//   k1 k2 p1 p2 k3, fold: Brown-Conrady, and the radius in (u, v) from which on it folds over
// Raw pixel = ideal pixel + focal @ (distorted - ideal), so that without distortion the map is the affine one, exactly.
#pragma once

#include <cmath>
#include <cstdint>

#include "common/host_device.h"

namespace refkp {
namespace {  // every instruction set keeps its own copy

constexpr int kCameraSize = 22;
constexpr int kCellTaps = 8;     // taps of a cell along one axis, at most
constexpr int kMaxCells = 512;   // cells of a pixel along one axis
constexpr double kSlack = 1.001; // a footprint of whole pixels stays one, whatever rounding makes of it

template <class Real>
struct Camera {
  Real pixel[6], ray[6], focal[4], k1, k2, p1, p2, k3;
  Real fold;       // squared; infinite without a fold
  Real near_fold;  // squared, with the reach of a pixel added: beyond it a whole pixel is folded
};

template <class Real>
REFKP_HOST_DEVICE inline Camera<Real> load_camera(const double* from) {
  Camera<Real> camera;
  for (int k = 0; k < 6; ++k) camera.pixel[k] = static_cast<Real>(from[k]);
  for (int k = 0; k < 6; ++k) camera.ray[k] = static_cast<Real>(from[6 + k]);
  for (int k = 0; k < 4; ++k) camera.focal[k] = static_cast<Real>(from[12 + k]);
  camera.k1 = static_cast<Real>(from[16]);
  camera.k2 = static_cast<Real>(from[17]);
  camera.p1 = static_cast<Real>(from[18]);
  camera.p2 = static_cast<Real>(from[19]);
  camera.k3 = static_cast<Real>(from[20]);
  const double reach = std::fabs(from[6]) + std::fabs(from[7]) + std::fabs(from[9]) + std::fabs(from[10]), fold = from[21];
  camera.fold = static_cast<Real>(fold * fold);
  camera.near_fold = static_cast<Real>((fold + reach) * (fold + reach));
  return camera;
}

// The map at one place: raw pixel (x, y) as indices and its derivative by column (xc, yc) and row (xr, yr).
template <class Real>
struct Linear {
  Real x, y, xc, yc, xr, yr;
  Real radius;       // of (u, v), squared
  Real determinant;  // of the distortion
};

template <class Real>
REFKP_HOST_DEVICE_INLINE Linear<Real> linearise(const Camera<Real>& c, Real column, Real row) {
  const Real u = c.ray[0] * column + (c.ray[1] * row + c.ray[2]), v = c.ray[3] * column + (c.ray[4] * row + c.ray[5]);
  const Real s = u * u + v * v;
  const Real radial = s * (c.k1 + s * (c.k2 + s * c.k3)), slope = 2 * (c.k1 + s * (2 * c.k2 + s * (3 * c.k3)));
  // What the distortion adds to (u, v), and its derivative, which is symmetric.
  const Real du = u * radial + 2 * c.p1 * u * v + c.p2 * (s + 2 * u * u);
  const Real dv = v * radial + c.p1 * (s + 2 * v * v) + 2 * c.p2 * u * v;
  const Real uu = radial + u * u * slope + 2 * c.p1 * v + 6 * c.p2 * u;
  const Real uv = u * v * slope + 2 * (c.p1 * u + c.p2 * v);
  const Real vv = radial + v * v * slope + 6 * c.p1 * v + 2 * c.p2 * u;
  const Real uc = uu * c.ray[0] + uv * c.ray[3], vc = uv * c.ray[0] + vv * c.ray[3];
  const Real ur = uu * c.ray[1] + uv * c.ray[4], vr = uv * c.ray[1] + vv * c.ray[4];
  return {c.pixel[0] * column + (c.pixel[1] * row + c.pixel[2]) + (c.focal[0] * du + c.focal[1] * dv),
          c.pixel[3] * column + (c.pixel[4] * row + c.pixel[5]) + (c.focal[2] * du + c.focal[3] * dv),
          c.pixel[0] + (c.focal[0] * uc + c.focal[1] * vc),
          c.pixel[3] + (c.focal[2] * uc + c.focal[3] * vc),
          c.pixel[1] + (c.focal[0] * ur + c.focal[1] * vr),
          c.pixel[4] + (c.focal[2] * ur + c.focal[3] * vr),
          s,
          (1 + uu) * (1 + vv) - uv * uv};
}

// Whether a place is on the near side of the fold, where the picture is not mirrored.
template <class Real>
REFKP_HOST_DEVICE_INLINE bool is_before_fold(const Camera<Real>& c, const Linear<Real>& at) {
  return (at.radius < c.fold) & (at.determinant > 0);
}

// Whether a part of the output pixel may show the image: its footprint, doubled for what is not linear, touches it.
template <class Real>
REFKP_HOST_DEVICE_INLINE bool may_see(const Camera<Real>& c, const Linear<Real>& at, Real height, Real width) {
  const Real reach_x = std::fabs(at.xc) + std::fabs(at.xr), reach_y = std::fabs(at.yc) + std::fabs(at.yr);
  return (at.radius < c.near_fold) & (at.x + reach_x > -1) & (at.x - reach_x < width) & (at.y + reach_y > -1) &
         (at.y - reach_y < height);
}

// The samples along one axis of a pixel that covers that many image pixels: 1 where it enlarges, 4 up to two pixels, then
// cells of 8 pixels with 8 taps each. NaN counts as 0.
template <class Real>
REFKP_HOST_DEVICE_INLINE void sample_counts(Real squared_length, Real& cells, Real& taps) {
  const Real most = Real(kMaxCells) * kCellTaps, low = squared_length > 0 ? squared_length : Real(0);
  const Real squared = low < most * most ? low : most * most;
  const Real length = std::sqrt(squared) / Real(kSlack), wanted = std::ceil(length / kCellTaps);
  taps = Real(1) + (length > 1 ? Real(3) : Real(0)) + (length > 2 ? Real(kCellTaps - 4) : Real(0));
  cells = wanted > 1 ? wanted : Real(1);
}

}  // namespace
}  // namespace refkp
