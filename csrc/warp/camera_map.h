// The map of camera_warp, for the host and the device: from an output pixel to its footprint in the raw image.
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
constexpr double kSlack = 1.001;  // a side up to this long counts as one pixel, whatever rounding makes of it

template <class Real>
struct Camera {
  Real pixel[6], ray[6], focal[4], k1, k2, p1, p2, k3;
  Real fold;  // squared; infinite without a fold
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
  camera.fold = static_cast<Real>(from[21] * from[21]);
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

// What a pixel covers of the image: a parallelogram with horizontal rows around (x, y), whose middles move by `shear` from
// a row to the next. A side of length 0 is a sample.
template <class Real>
struct Footprint {
  Real x, y, shear, width, height;
};

// The parallelogram with horizontal rows that has the covariance of the true one, A [-1/2,1/2]^2 with A the derivative:
// S / 12, S = A A^T. The tent of bilinear interpolation adds 2 to S_xx and S_yy and shears nothing; shear and width make
// up for it, so that it is the whole filter that has the covariance of footprint and tent:
//   height^2 = S_yy,  shear = S_xy / (S_yy + 2),  width^2 = S_xx - shear S_xy = (det A^2 + 2 S_xx) / (S_yy + 2)
// A row without height is a sample of one place: shear 0, width^2 = S_xx.
template <class Real>
REFKP_HOST_DEVICE_INLINE Footprint<Real> find_footprint(const Linear<Real>& at, bool antialias) {
  const Real least = antialias ? Real(kSlack * kSlack) : Real(INFINITY);
  const Real xx = at.xc * at.xc + at.xr * at.xr, yy = at.yc * at.yc + at.yr * at.yr;
  const Real determinant = at.xc * at.yr - at.xr * at.yc, part = 1 / (yy + 2);
  const bool has_height = yy > least;  // not for NaN
  const Real shear = (at.xc * at.yc + at.xr * at.yr) * part, whole = shear - shear == 0 ? shear : Real(0);
  const Real squared_width = has_height ? determinant * part * determinant + 2 * part * xx : xx;
  const Real width = std::sqrt(squared_width > least ? squared_width : Real(0));
  return {at.x, at.y, has_height ? whole : Real(0), width, std::sqrt(has_height ? yy : Real(0))};
}

// The weight of a pixel at a distance from the middle of a side is the mean of its tent over the side, or the tent where
// the side has no length:
//   scale (curve + t (1 - curve |t|) - curve s^2),  t = half - |distance| within [-2 curve, 1],  s = 1 - half - |distance| >= 0
// By symmetry that is (F(d + half) - F(d - half)) / (2 half) with the tent's integral F(t) = 1/2 + t - t |t| / 2.
template <class Real>
struct Tent {
  Real half, curve, scale;
  REFKP_HOST_DEVICE_INLINE explicit Tent(Real length)
      : half(length > 0 ? length / 2 : Real(1)),
        curve(length > 0 ? Real(0.5) : Real(0)),
        scale(1 / (length > 0 ? length : Real(1))) {}
  REFKP_HOST_DEVICE_INLINE Real reach() const { return half + 2 * curve; }  // from here on there is no weight
};

}  // namespace
}  // namespace refkp
