// equivariance_loss on CUDA: float32, float16 or bfloat16 storage, float32 arithmetic, double sums.
//
// Forward: one thread a pixel, taps shared by all channels; blocks sum in a fixed tree and a second kernel sums the
// blocks in order. Backward: one kernel forms the residual, writes the gradient of A and, into the workspace, that of
// B'; the gather of affine_warp then takes the latter to A'. No atomics, so runs repeat bitwise.
// A theta that is not finite gives NaN: refusing it would need a synchronisation.
#include "warp/affine_warp.h"
#include "warp/bilinear_taps.cuh"
#include "warp/equivariance_loss.h"

namespace refkp {
namespace cuda {
namespace {

constexpr int kThreads = 256;

__device__ PixelMap inverse_map(const double* theta, int64_t b, const EquivarianceShape& s) {
  return pixel_map(theta + 6 * b, true, s.height, s.width, s.height, s.width);
}

__device__ float covered_share(const Taps& taps) {
  float sum = 0.f;
  for (int k = 0; k < 4; ++k) sum += taps.inside(k) ? taps.weight(k) : 0.f;
  return sum;
}

// weight * A - B' at one pixel; `first` is the first element of the map's plane.
template <typename T>
__device__ float residual(const T* maps, const T* maps_warped, int64_t first, int64_t pixel, float weight, const Taps& taps) {
  float warped = 0.f;
  for (int k = 0; k < 4; ++k)
    if (taps.inside(k) && taps.weight(k) != 0.f) warped = fmaf(taps.weight(k), to_float(maps_warped[first + taps.index(k)]), warped);
  return taps.finite ? weight * to_float(maps[first + pixel]) - warped : NAN;
}

template <typename T>
__global__ void equivariance_loss_kernel(const T* __restrict__ maps, const T* __restrict__ maps_warped,
                                         const double* __restrict__ theta, bool coverage, EquivarianceShape s,
                                         int64_t blocks, double* __restrict__ workspace) {
  const int64_t pixel = blockIdx.x % blocks * blockDim.x + threadIdx.x, b = blockIdx.x / blocks;
  const int64_t plane = s.height * s.width;
  double squares = 0.0, covered = 0.0;
  if (pixel < plane) {
    const Taps taps(inverse_map(theta, b, s), static_cast<int>(pixel / s.width), static_cast<int>(pixel % s.width),
                    s.height, s.width);
    const float weight = coverage ? covered_share(taps) : 1.f;
    covered = taps.finite ? weight : NAN;
    for (int64_t k = 0; k < s.channels; ++k) {
      const float r = residual(maps, maps_warped, (b * s.channels + k) * plane, pixel, weight, taps);
      squares += static_cast<double>(r) * r;
    }
  }
  squares = block_sum<kThreads>(squares);
  covered = block_sum<kThreads>(covered);
  if (threadIdx.x == 0) {
    workspace[static_cast<int64_t>(blockIdx.x) * 2] = squares;
    workspace[static_cast<int64_t>(blockIdx.x) * 2 + 1] = covered;
  }
}

__global__ void equivariance_loss_finish_kernel(const double* __restrict__ workspace, EquivarianceShape s, int64_t blocks,
                                                double* __restrict__ loss, double* __restrict__ denominator) {
  const int64_t b = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (b >= s.batch) return;
  double squares = 0.0, covered = 0.0;
  for (int64_t block = 0; block < blocks; ++block) {
    squares += workspace[(b * blocks + block) * 2];
    covered += workspace[(b * blocks + block) * 2 + 1];
  }
  denominator[b] = covered * static_cast<double>(s.channels);
  loss[b] = denominator[b] == 0.0 ? 0.0 : squares / denominator[b];
}

template <typename T>
__global__ void equivariance_loss_backward_kernel(const T* __restrict__ maps, const T* __restrict__ maps_warped,
                                                  const double* __restrict__ theta, bool coverage,
                                                  const double* __restrict__ grad_item, EquivarianceShape s, int64_t blocks,
                                                  T* __restrict__ grad_maps, T* __restrict__ grad_returned) {
  const int64_t pixel = blockIdx.x % blocks * blockDim.x + threadIdx.x, b = blockIdx.x / blocks;
  const int64_t plane = s.height * s.width;
  if (pixel >= plane) return;
  const Taps taps(inverse_map(theta, b, s), static_cast<int>(pixel / s.width), static_cast<int>(pixel % s.width), s.height,
                  s.width);
  const float weight = coverage ? covered_share(taps) : 1.f, scale = static_cast<float>(grad_item[b]);
  for (int64_t k = 0; k < s.channels; ++k) {
    const int64_t first = (b * s.channels + k) * plane;
    const float r = scale * residual(maps, maps_warped, first, pixel, weight, taps);
    grad_maps[first + pixel] = from_float<T>(weight * r);
    grad_returned[first + pixel] = from_float<T>(-r);
  }
}

}  // namespace

int64_t equivariance_loss_partials(const EquivarianceShape& s) {
  return s.batch * ceil_div(s.height * s.width, kThreads) * 2;
}

void equivariance_loss(DType dtype, const void* maps, const void* maps_warped, const double* theta, bool coverage,
                       const EquivarianceShape& s, double* loss, double* denominator, double* workspace, void* stream) {
  if (s.batch == 0) return;
  const int64_t blocks = ceil_div(s.height * s.width, kThreads);
  const unsigned int grid = grid_size(blocks * s.batch);
  const cudaStream_t on = static_cast<cudaStream_t>(stream);
  dispatch_storage(dtype, [&](auto zero) {
    using T = decltype(zero);
    equivariance_loss_kernel<T><<<grid, kThreads, 0, on>>>(
        static_cast<const T*>(maps), static_cast<const T*>(maps_warped), theta, coverage, s, blocks, workspace);
  });
  check_launch("equivariance_loss_kernel");
  equivariance_loss_finish_kernel<<<grid_size(ceil_div(s.batch, kThreads)), kThreads, 0, on>>>(workspace, s, blocks,
                                                                                            loss, denominator);
  check_launch("equivariance_loss_finish_kernel");
}

void equivariance_loss_backward(DType dtype, const void* maps, const void* maps_warped, const double* theta, bool coverage,
                                const double* grad_item, const EquivarianceShape& s, void* grad_maps,
                                void* grad_maps_warped, void* workspace, void* stream) {
  if (s.batch * s.channels == 0) return;
  const int64_t blocks = ceil_div(s.height * s.width, kThreads);
  const unsigned int grid = grid_size(blocks * s.batch);
  dispatch_storage(dtype, [&](auto zero) {
    using T = decltype(zero);
    equivariance_loss_backward_kernel<T><<<grid, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
        static_cast<const T*>(maps), static_cast<const T*>(maps_warped), theta, coverage, grad_item, s, blocks,
        static_cast<T*>(grad_maps), static_cast<T*>(workspace));
  });
  check_launch("equivariance_loss_backward_kernel");
  const AffineWarpShape warp{s.batch, s.channels, s.height, s.width, s.height, s.width};
  affine_warp_backward(dtype, workspace, nullptr, theta, true, nullptr, warp, grad_maps_warped, nullptr, nullptr, stream);
}

}  // namespace cuda
}  // namespace refkp
