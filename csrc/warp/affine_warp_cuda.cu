// affine_warp on CUDA: float32, float16 or bfloat16 storage, float32 arithmetic.
//
// Forward: one thread an output pixel; taps and weights stay in registers and serve all channels. Memory bound.
// Backward of the image: a gather, one thread an input pixel q. The output pixels p that read q lie in a parallelogram
// of the inverse map: |px(p) - qx| < 1 and |py(p) - qy| < 1. The thread walks its rows and adds
// tri(px - qx) tri(py - qy) grad_out[p]; no atomics, so runs repeat bitwise, and the total work is that of the forward.
// Backward of theta: blocks sum the moments of dL/d(px, py) in a fixed tree, a second kernel sums the blocks in order.
// A theta that is not finite cannot be refused without a synchronisation; its image comes out as NaN.
#include "common/cuda_support.cuh"
#include "warp/affine_warp.h"
#include "warp/bilinear_taps.cuh"

namespace refkp {
namespace cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kChannelsAtOnce = 4;

__device__ PixelMap load_map(const double* theta, int64_t b, bool inverse, const AffineWarpShape& s) {
  return pixel_map(theta + 6 * b, inverse, s.in_height, s.in_width, s.out_height, s.out_width);
}

template <typename T>
__global__ void affine_warp_kernel(const T* __restrict__ image, const double* __restrict__ theta, bool inverse,
                                   const double* __restrict__ fill, AffineWarpShape s, int64_t blocks,
                                   T* __restrict__ out) {
  const int64_t pixel = blockIdx.x % blocks * blockDim.x + threadIdx.x, b = blockIdx.x / blocks;
  const int64_t out_plane = s.out_height * s.out_width, in_plane = s.in_height * s.in_width;
  if (pixel >= out_plane) return;
  const int i = static_cast<int>(pixel / s.out_width), j = static_cast<int>(pixel % s.out_width);
  const Taps taps(load_map(theta, b, inverse, s), i, j, s.in_height, s.in_width);
  int64_t index[4];
  float weight[4], coverage = 0.f;
  for (int k = 0; k < 4; ++k) {
    const bool in = taps.inside(k);
    index[k] = in ? taps.index(k) : 0;
    weight[k] = in ? taps.weight(k) : 0.f;
    coverage += weight[k];
  }
  for (int64_t c = 0; c < s.channels; ++c) {
    const T* plane = image + (b * s.channels + c) * in_plane;
    float value = fill != nullptr ? (1.f - coverage) * static_cast<float>(fill[c]) : 0.f;
    for (int k = 0; k < 4; ++k)
      if (weight[k] != 0.f) value = fmaf(weight[k], to_float(plane[index[k]]), value);
    out[(b * s.channels + c) * out_plane + pixel] = from_float<T>(taps.finite ? value : NAN);
  }
}

// The j with |step * j + rest| < 1, a little widened, cut to [low, high].
__device__ void clip_columns(double step, double rest, double& low, double& high) {
  if (fabs(step) < 1e-12) {
    if (fabs(rest) >= 1.0) high = low - 1.0;
    return;
  }
  const double a = (-1.0 - rest) / step, b = (1.0 - rest) / step;
  low = fmax(low, fmin(a, b) - 0.01);
  high = fmin(high, fmax(a, b) + 0.01);
}

template <typename T>
__global__ void affine_warp_backward_image_kernel(const T* __restrict__ grad_out, const double* __restrict__ theta,
                                                  bool inverse, AffineWarpShape s, int64_t blocks,
                                                  T* __restrict__ grad_image) {
  const int64_t pixel = blockIdx.x % blocks * blockDim.x + threadIdx.x, b = blockIdx.x / blocks;
  const int64_t out_plane = s.out_height * s.out_width, in_plane = s.in_height * s.in_width;
  if (pixel >= in_plane) return;
  const double qy = static_cast<double>(pixel / s.in_width), qx = static_cast<double>(pixel % s.in_width);
  const PixelMap map = load_map(theta, b, inverse, s);
  // 1. Rows of the parallelogram M^-1 ([qx-1,qx+1] x [qy-1,qy+1]).
  const double det = map.m00 * map.m11 - map.m01 * map.m10;
  const double centre_i = (map.m00 * (qy - map.c1) - map.m10 * (qx - map.c0)) / det;
  const double reach_i = (fabs(map.m00) + fabs(map.m10)) / fabs(det) + 0.01;
  const bool finite = isfinite(centre_i) && isfinite(reach_i);
  const int first = static_cast<int>(fmax(0.0, ceil(centre_i - reach_i)));
  const double below = fmin(static_cast<double>(s.out_height - 1), floor(centre_i + reach_i));
  const int last = finite ? static_cast<int>(below) : -1;  // NaN compares with nothing: it would visit every pixel
  // 2. A few channels at a time, so that the weights of a candidate are used more than once.
  for (int64_t c0 = 0; c0 < s.channels; c0 += kChannelsAtOnce) {
    const int count = static_cast<int>(min(static_cast<int64_t>(kChannelsAtOnce), s.channels - c0));
    const T* g = grad_out + (b * s.channels + c0) * out_plane;
    float sum[kChannelsAtOnce] = {};
    for (int i = first; i <= last; ++i) {
      double low = 0.0, high = static_cast<double>(s.out_width - 1);
      clip_columns(map.m00, position_x(map, i, 0) - qx, low, high);
      clip_columns(map.m10, position_y(map, i, 0) - qy, low, high);
      for (int j = static_cast<int>(ceil(low)); j <= static_cast<int>(floor(high)); ++j) {
        const float wx = static_cast<float>(1.0 - fabs(position_x(map, i, j) - qx));
        const float wy = static_cast<float>(1.0 - fabs(position_y(map, i, j) - qy));
        if (wx <= 0.f || wy <= 0.f) continue;
        const int64_t p = static_cast<int64_t>(i) * s.out_width + j;
        for (int c = 0; c < count; ++c) sum[c] = fmaf(wx * wy, to_float(g[c * out_plane + p]), sum[c]);
      }
    }
    for (int c = 0; c < count; ++c)
      grad_image[(b * s.channels + c0 + c) * in_plane + pixel] = from_float<T>(finite ? sum[c] : NAN);
  }
}

// Sums of dL/dpx (x, y, 1) and dL/dpy (x, y, 1) over the pixels of one block -> partial [B, blocks, 6].
template <typename T>
__global__ void affine_warp_backward_theta_kernel(const T* __restrict__ grad_out, const T* __restrict__ image,
                                                  const double* __restrict__ theta, bool inverse,
                                                  const double* __restrict__ fill, AffineWarpShape s, int64_t blocks,
                                                  double* __restrict__ partial) {
  const int64_t pixel = blockIdx.x % blocks * blockDim.x + threadIdx.x, b = blockIdx.x / blocks;
  const int64_t out_plane = s.out_height * s.out_width, in_plane = s.in_height * s.in_width;
  float grad_x = 0.f, grad_y = 0.f;
  double x = 0.0, y = 0.0;
  if (pixel < out_plane) {
    const int i = static_cast<int>(pixel / s.out_width), j = static_cast<int>(pixel % s.out_width);
    x = static_cast<double>(2 * j + 1) / static_cast<double>(s.out_width) - 1.0;
    y = static_cast<double>(2 * i + 1) / static_cast<double>(s.out_height) - 1.0;
    const Taps taps(load_map(theta, b, inverse, s), i, j, s.in_height, s.in_width);
    for (int64_t c = 0; c < s.channels; ++c) {
      const int64_t bc = b * s.channels + c;
      const float outside = fill != nullptr ? static_cast<float>(fill[c]) : 0.f;
      float v[4];
      for (int k = 0; k < 4; ++k) v[k] = taps.inside(k) ? to_float(image[bc * in_plane + taps.index(k)]) : outside;
      const float g = to_float(grad_out[bc * out_plane + pixel]);
      grad_x += g * ((1.f - taps.wy) * (v[1] - v[0]) + taps.wy * (v[3] - v[2]));
      grad_y += g * ((1.f - taps.wx) * (v[2] - v[0]) + taps.wx * (v[3] - v[1]));
    }
    if (!taps.finite) grad_x = grad_y = NAN;
  }
  const double terms[6] = {grad_x * x, grad_x * y, grad_x, grad_y * x, grad_y * y, grad_y};
  for (int k = 0; k < 6; ++k) {
    const double sum = block_sum<kThreads>(terms[k]);
    if (threadIdx.x == 0) partial[static_cast<int64_t>(blockIdx.x) * 6 + k] = sum;
  }
}

__global__ void affine_warp_finish_theta_kernel(const double* __restrict__ partial, const double* __restrict__ theta,
                                                bool inverse, AffineWarpShape s, int64_t blocks,
                                                double* __restrict__ grad_theta) {
  const int64_t b = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (b >= s.batch) return;
  double sums[6] = {0, 0, 0, 0, 0, 0};
  for (int64_t block = 0; block < blocks; ++block)
    for (int k = 0; k < 6; ++k) sums[k] += partial[(b * blocks + block) * 6 + k];
  theta_gradient(theta + 6 * b, inverse, sums, s.in_height, s.in_width, grad_theta + 6 * b);
}

}  // namespace

void affine_warp(DType dtype, const void* image, const double* theta, bool inverse, const double* fill,
                 const AffineWarpShape& s, void* out, void* stream) {
  if (s.batch * s.channels == 0) return;
  const int64_t blocks = ceil_div(s.out_height * s.out_width, kThreads);
  const unsigned int grid = grid_size(blocks * s.batch);
  dispatch_storage(dtype, [&](auto zero) {
    using T = decltype(zero);
    affine_warp_kernel<T><<<grid, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
        static_cast<const T*>(image), theta, inverse, fill, s, blocks, static_cast<T*>(out));
  });
  check_launch("affine_warp_kernel");
}

int64_t affine_warp_partials(const AffineWarpShape& s) {
  return s.batch * ceil_div(s.out_height * s.out_width, kThreads) * 6;
}

void affine_warp_backward(DType dtype, const void* grad_out, const void* image, const double* theta, bool inverse,
                          const double* fill, const AffineWarpShape& s, void* grad_image, double* grad_theta,
                          double* workspace, void* stream) {
  if (s.batch == 0) return;
  const cudaStream_t on = static_cast<cudaStream_t>(stream);
  if (grad_image != nullptr && s.channels > 0) {
    const int64_t blocks = ceil_div(s.in_height * s.in_width, kThreads);
    const unsigned int grid = grid_size(blocks * s.batch);
    dispatch_storage(dtype, [&](auto zero) {
      using T = decltype(zero);
      affine_warp_backward_image_kernel<T><<<grid, kThreads, 0, on>>>(static_cast<const T*>(grad_out), theta, inverse, s,
                                                                      blocks, static_cast<T*>(grad_image));
    });
    check_launch("affine_warp_backward_image_kernel");
  }
  if (grad_theta != nullptr) {
    const int64_t blocks = ceil_div(s.out_height * s.out_width, kThreads);
    const unsigned int grid = grid_size(blocks * s.batch);
    dispatch_storage(dtype, [&](auto zero) {
      using T = decltype(zero);
      affine_warp_backward_theta_kernel<T><<<grid, kThreads, 0, on>>>(static_cast<const T*>(grad_out),
                                                                      static_cast<const T*>(image), theta, inverse, fill, s,
                                                                      blocks, workspace);
    });
    check_launch("affine_warp_backward_theta_kernel");
    affine_warp_finish_theta_kernel<<<grid_size(ceil_div(s.batch, kThreads)), kThreads, 0, on>>>(
        workspace, theta, inverse, s, blocks, grad_theta);
    check_launch("affine_warp_finish_theta_kernel");
  }
}

}  // namespace cuda
}  // namespace refkp
