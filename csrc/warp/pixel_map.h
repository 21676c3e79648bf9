// From a normalised affine map to pixels, shared by the warps on host and device.
//
// theta [2,3] maps output to input in normalised coordinates (align_corners=False, x over the width first). In pixel
// indices, of an output of size h x w and an input of size H x W, the same map is
//     px = m00 j + m01 i + c0,   py = m10 j + m11 i + c1.
// The constants are grouped so that the identity and mirror maps come out exact.
#pragma once

#include <cstdint>

#include "common/host_device.h"

namespace refkp {
namespace {  // every instruction set keeps its own copy

struct PixelMap {
  double m00, m01, c0, m10, m11, c1;
};

// theta, or its inverse as an affine map: A^-1 and -A^-1 t.
REFKP_HOST_DEVICE inline void effective_theta(const double* theta, bool inverse, double* out) {
  const double a = theta[0], b = theta[1], tx = theta[2], c = theta[3], d = theta[4], ty = theta[5];
  if (!inverse) {
    for (int k = 0; k < 6; ++k) out[k] = theta[k];
    return;
  }
  const double scale = 1.0 / (a * d - b * c);
  out[0] = d * scale;
  out[1] = -b * scale;
  out[3] = -c * scale;
  out[4] = a * scale;
  out[2] = -(out[0] * tx + out[1] * ty);
  out[5] = -(out[3] * tx + out[4] * ty);
}

REFKP_HOST_DEVICE inline PixelMap pixel_map(const double* theta, bool inverse, int64_t in_height, int64_t in_width,
                                            int64_t out_height, int64_t out_width) {
  double t[6];
  effective_theta(theta, inverse, t);
  const double H = static_cast<double>(in_height), W = static_cast<double>(in_width);
  const double h = static_cast<double>(out_height), w = static_cast<double>(out_width);
  PixelMap map;
  map.m00 = t[0] * (W / w);
  map.m01 = t[1] * (W / h);
  map.m10 = t[3] * (H / w);
  map.m11 = t[4] * (H / h);
  map.c0 = 0.5 * (map.m00 * (1 - w) + map.m01 * (1 - h) + t[2] * W + (W - 1));
  map.c1 = 0.5 * (map.m10 * (1 - w) + map.m11 * (1 - h) + t[5] * H + (H - 1));
  return map;
}

// The gradient with respect to theta from the moments of the gradient with respect to (px, py):
// sums[0..2] = sum over output pixels of g_x * (x, y, 1) in normalised output coordinates, sums[3..5] the same of g_y,
// where g = dL/d(px, py).
REFKP_HOST_DEVICE inline void theta_gradient(const double* theta, bool inverse, const double* sums, int64_t in_height,
                                             int64_t in_width, double* grad_theta) {
  double g[6];
  for (int k = 0; k < 3; ++k) {
    g[k] = sums[k] * (0.5 * static_cast<double>(in_width));
    g[3 + k] = sums[3 + k] * (0.5 * static_cast<double>(in_height));
  }
  if (!inverse) {
    for (int k = 0; k < 6; ++k) grad_theta[k] = g[k];
    return;
  }
  // With the 3x3 matrices Y = X^-1: dL/dX = -Y^T (dL/dY) Y^T, rows 0 and 1.
  double y[6];
  effective_theta(theta, true, y);
  double gy[6];  // rows 0 and 1 of (dL/dY) Y^T; Y^T has columns (y0 y1 y2), (y3 y4 y5), (0 0 1)
  for (int r = 0; r < 2; ++r) {
    gy[3 * r + 0] = g[3 * r] * y[0] + g[3 * r + 1] * y[1] + g[3 * r + 2] * y[2];
    gy[3 * r + 1] = g[3 * r] * y[3] + g[3 * r + 1] * y[4] + g[3 * r + 2] * y[5];
    gy[3 * r + 2] = g[3 * r + 2];
  }
  for (int k = 0; k < 3; ++k) {
    grad_theta[k] = -(y[0] * gy[k] + y[3] * gy[3 + k]);
    grad_theta[3 + k] = -(y[1] * gy[k] + y[4] * gy[3 + k]);
  }
}

}  // namespace
}  // namespace refkp
