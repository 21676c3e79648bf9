// Taps of one output pixel, for the CUDA warps.
#pragma once

#include "common/cuda_support.cuh"
#include "warp/pixel_map.h"

namespace refkp {
namespace cuda {

// Positions are formed in double, as on the CPU; both passes evaluate them by these expressions, so that they agree on
// every weight.
__device__ __forceinline__ double position_x(const PixelMap& m, int i, int j) { return fma(m.m00, j, fma(m.m01, i, m.c0)); }
__device__ __forceinline__ double position_y(const PixelMap& m, int i, int j) { return fma(m.m10, j, fma(m.m11, i, m.c1)); }

// The four taps around the position of an output pixel; tap k is right for k & 1 and lower for k >> 1.
struct Taps {
  float wx, wy;
  int x0, y0;
  int64_t height, width;
  bool finite;
  __device__ Taps(const PixelMap& map, int i, int j, int64_t in_height, int64_t in_width)
      : height(in_height), width(in_width) {
    double px = position_x(map, i, j), py = position_y(map, i, j);
    finite = isfinite(px) && isfinite(py);
    px = fmin(fmax(px, -2.0), static_cast<double>(width + 1));
    py = fmin(fmax(py, -2.0), static_cast<double>(height + 1));
    x0 = static_cast<int>(floor(px));
    y0 = static_cast<int>(floor(py));
    wx = static_cast<float>(px - floor(px));
    wy = static_cast<float>(py - floor(py));
  }
  __device__ bool inside(int k) const {
    const int x = x0 + (k & 1), y = y0 + (k >> 1);
    return x >= 0 && x < width && y >= 0 && y < height;
  }
  __device__ int64_t index(int k) const {
    return static_cast<int64_t>(y0 + (k >> 1)) * width + x0 + (k & 1);
  }
  __device__ float weight(int k) const { return ((k & 1) ? wx : 1.f - wx) * ((k >> 1) ? wy : 1.f - wy); }
};

// Sums `value` over the block in a fixed tree; every thread of the block calls it, thread 0 gets the result.
template <int kThreads>
__device__ double block_sum(double value) {
  __shared__ double shared[kThreads];
  shared[threadIdx.x] = value;
  __syncthreads();
  for (int half = kThreads / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
    __syncthreads();
  }
  const double sum = shared[0];
  __syncthreads();
  return sum;
}

}  // namespace cuda
}  // namespace refkp
