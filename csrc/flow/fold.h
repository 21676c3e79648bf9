// One source-target pair as an affine map of source pixels, formed in float64 on either side of the bus.
#pragma once

#include "common/host_device.h"
#include "flow/flow_gt.h"

namespace refkp {
namespace {  // every instruction set keeps its own copy

// z-scaled pixel -> homogeneous target pixel: (U, V, Z) = z A (x, y, 1) + b with [A | b] in `map`, row-major [3,4].
struct PairMap {
  double map[12];
  double tol_slope;  // tolerance per unit of depth
};

// map = K_dst [R K_src^-1 | t] for dst_from_src = [R t; 0 1] (R with the unit scale) and upper triangular K.
REFKP_HOST_DEVICE inline PairMap fold_pair(const FlowProblem& p, int64_t b, int64_t s) {
  const double* K = p.src.K + b * 9;
  const double* K_dst = p.dst.K + (b * p.targets + s) * 9;
  const double* T = p.dst_from_src + (b * p.targets + s) * 16;
  const double fx = K[0], skew = K[1], cx = K[2], fy = K[4], cy = K[5];
  double ray_map[12];
  for (int row = 0; row < 3; ++row) {
    const double* r = T + row * 4;
    const double x = r[0] / fx;
    const double y = (r[1] - x * skew) / fy;
    ray_map[row * 4 + 0] = x;
    ray_map[row * 4 + 1] = y;
    ray_map[row * 4 + 2] = r[2] - x * cx - y * cy;
    ray_map[row * 4 + 3] = r[3];
  }
  PairMap pair;
  for (int column = 0; column < 4; ++column) {
    const double x = ray_map[column], y = ray_map[4 + column], z = ray_map[8 + column];
    pair.map[column] = K_dst[0] * x + K_dst[1] * y + K_dst[2] * z;
    pair.map[4 + column] = K_dst[4] * y + K_dst[5] * z;
    pair.map[8 + column] = z;
  }
  pair.tol_slope = p.tol_rel + p.tol_px / K_dst[0];
  return pair;
}

}  // namespace
}  // namespace refkp
