// camera_warp on CUDA: uint8, float32, float16 or bfloat16 storage, float32 arithmetic.
//
// Forward: a thread an output pixel and all channels; the map once a cell, its taps in registers. Neighbouring threads
// read neighbouring parts of the image through the caches; a shrinking pixel reads 64 taps, which bounds the kernel.
// Backward: the same threads scatter their taps as integers, whose sum has no order (as e2p; _fixed_point.py).
#include "common/cuda_support.cuh"
#include "warp/camera_map.h"
#include "warp/camera_warp.h"

namespace refkp {
namespace {

constexpr int kThreads = 256;
constexpr int kChannels = 4;  // channels that share one computation of positions

struct Samples {
  float cells_x, cells_y, taps_x, taps_y;
  __device__ float count() const { return (cells_x * taps_x) * (cells_y * taps_y); }
};

__device__ Samples count_samples(const CameraWarpProblem& p, const Camera<float>& camera, float column, float row) {
  const Linear<float> at = linearise(camera, column, row);
  const bool seen = p.antialias && may_see(camera, at, static_cast<float>(p.in_height), static_cast<float>(p.in_width));
  Samples samples;
  sample_counts(seen ? at.xc * at.xc + at.yc * at.yc : 0.0f, samples.cells_x, samples.taps_x);
  sample_counts(seen ? at.xr * at.xr + at.yr * at.yr : 0.0f, samples.cells_y, samples.taps_y);
  return samples;
}

// The neighbours of a tap: element offsets in a plane, and weights, 0 for one outside.
struct Square {
  int64_t offset[4];
  float weight[4];
};

__device__ Square find_square(const CameraWarpProblem& p, float x, float y) {
  const float left = floorf(x), top = floorf(y);
  Square square;
  for (int k = 0; k < 4; ++k) {
    const float qx = left + (k & 1), qy = top + (k >> 1);
    const bool inside = qx >= 0 && qx < p.in_width && qy >= 0 && qy < p.in_height;  // not for NaN
    const float share_x = (k & 1) ? x - left : 1 - (x - left), share_y = (k >> 1) ? y - top : 1 - (y - top);
    square.weight[k] = inside ? share_x * share_y : 0.0f;
    square.offset[k] = inside ? static_cast<int64_t>(qy) * p.stride_row + static_cast<int64_t>(qx) * p.stride_column : 0;
  }
  return square;
}

// Calls body(square) for every tap of a pixel that is before the fold.
template <typename Body>
__device__ void for_each_tap(const CameraWarpProblem& p, const Camera<float>& camera, const Samples& n, float column,
                             float row, const Body& body) {
  for (float i = 0; i < n.cells_y; ++i) {
    for (float j = 0; j < n.cells_x; ++j) {
      const float size_x = 1 / n.cells_x, size_y = 1 / n.cells_y;
      const Linear<float> at =
          linearise(camera, column + ((j + 0.5f) * size_x - 0.5f), row + ((i + 0.5f) * size_y - 0.5f));
      if (!is_before_fold(camera, at)) continue;
      for (float k = 0; k < n.taps_y; ++k) {
        for (float l = 0; l < n.taps_x; ++l) {
          const float across = ((l + 0.5f) / n.taps_x - 0.5f) * size_x, down = ((k + 0.5f) / n.taps_y - 0.5f) * size_y;
          body(find_square(p, at.x + at.xc * across + at.xr * down, at.y + at.yc * across + at.yr * down));
        }
      }
    }
  }
}

struct Pixel {
  int64_t image, offset;  // in its plane
  float column, row;
};

__device__ bool find_pixel(const CameraWarpProblem& p, Pixel& pixel) {
  const int64_t index = blockIdx.x * static_cast<int64_t>(kThreads) + threadIdx.x, plane = p.out_height * p.out_width;
  pixel.image = index / plane;
  pixel.offset = index % plane;
  pixel.column = static_cast<float>(pixel.offset % p.out_width);
  pixel.row = static_cast<float>(pixel.offset / p.out_width);
  return index < p.batch * plane;
}

template <typename T>
__device__ T store(float value) {
  return cuda::from_float<T>(value);
}
template <>
__device__ uint8_t store<uint8_t>(float value) {
  return static_cast<uint8_t>(fminf(fmaxf(value + 0.5f, 0.0f), 255.0f));
}

template <typename T>
__global__ void forward_kernel(const T* image, T* out, CameraWarpProblem p) {
  Pixel pixel;
  if (!find_pixel(p, pixel)) return;
  const Camera<float> camera = load_camera<float>(p.cameras + kCameraSize * pixel.image);
  const Samples samples = count_samples(p, camera, pixel.column, pixel.row);
  for (int64_t first = 0; first < p.channels; first += kChannels) {
    const T* from = image + pixel.image * p.stride_image + first * p.stride_channel;
    float sum[kChannels] = {}, weight = 0;
    for_each_tap(p, camera, samples, pixel.column, pixel.row, [&](const Square& square) {
      for (int k = 0; k < 4; ++k) {
        if (square.weight[k] == 0.0f) continue;
        weight += square.weight[k];
#pragma unroll
        for (int c = 0; c < kChannels; ++c)
          if (first + c < p.channels)
            sum[c] += square.weight[k] * cuda::to_float(from[c * p.stride_channel + square.offset[k]]);
      }
    });
#pragma unroll
    for (int c = 0; c < kChannels; ++c) {
      if (first + c >= p.channels) continue;
      const float outside = (samples.count() - weight) * static_cast<float>(p.fill[first + c]);
      out[(pixel.image * p.channels + first + c) * p.out_height * p.out_width + pixel.offset] =
          store<T>((sum[c] + outside) / samples.count());
    }
  }
}

template <typename T>
__global__ void scatter_kernel(const T* grad_out, int64_t* sums, const double* scale, CameraWarpProblem p) {
  Pixel pixel;
  if (!find_pixel(p, pixel)) return;
  const Camera<float> camera = load_camera<float>(p.cameras + kCameraSize * pixel.image);
  const Samples samples = count_samples(p, camera, pixel.column, pixel.row);
  const double factor = *scale / samples.count();
  const int64_t out_plane = p.out_height * p.out_width;
  for_each_tap(p, camera, samples, pixel.column, pixel.row, [&](const Square& square) {
    for (int64_t c = 0; c < p.channels; ++c) {
      const double value = cuda::to_float(grad_out[(pixel.image * p.channels + c) * out_plane + pixel.offset]) * factor;
      int64_t* plane = sums + pixel.image * p.stride_image + c * p.stride_channel;
      for (int k = 0; k < 4; ++k)
        if (square.weight[k] != 0.0f)
          atomicAdd(reinterpret_cast<unsigned long long*>(plane + square.offset[k]),
                    static_cast<unsigned long long>(__double2ll_rn(value * square.weight[k])));
    }
  });
}

template <typename T>
__global__ void finish_kernel(const int64_t* sums, T* grad_image, const double* scale, int64_t count) {
  const int64_t index = blockIdx.x * static_cast<int64_t>(kThreads) + threadIdx.x;
  if (index < count) grad_image[index] = cuda::from_float<T>(static_cast<float>(static_cast<double>(sums[index]) / *scale));
}

unsigned int num_blocks(int64_t threads) { return cuda::grid_size(cuda::ceil_div(threads, kThreads)); }

template <typename T>
void forward(const void* image, const CameraWarpProblem& p, void* out, cudaStream_t stream) {
  forward_kernel<<<num_blocks(p.batch * p.out_height * p.out_width), kThreads, 0, stream>>>(
      static_cast<const T*>(image), static_cast<T*>(out), p);
  cuda::check_launch("camera_warp");
}

}  // namespace

namespace cuda {

void camera_warp(DType dtype, const void* image, const CameraWarpProblem& problem, void* out, void* stream) {
  const auto queue = static_cast<cudaStream_t>(stream);
  if (dtype == DType::uint8) return forward<uint8_t>(image, problem, out, queue);
  dispatch_storage(dtype, [&](auto element) { forward<decltype(element)>(image, problem, out, queue); });
}

void camera_warp_backward(DType dtype, const void* grad_out, const CameraWarpProblem& problem, int64_t* sums,
                          const double* scale, void* grad_image, void* stream) {
  const auto queue = static_cast<cudaStream_t>(stream);
  const int64_t count = problem.batch * problem.channels * problem.in_height * problem.in_width;
  dispatch_storage(dtype, [&](auto element) {
    using T = decltype(element);
    scatter_kernel<<<num_blocks(problem.batch * problem.out_height * problem.out_width), kThreads, 0, queue>>>(
        static_cast<const T*>(grad_out), sums, scale, problem);
    check_launch("camera_warp_backward");
    finish_kernel<<<num_blocks(count), kThreads, 0, queue>>>(sums, static_cast<T*>(grad_image), scale, count);
    check_launch("camera_warp_backward");
  });
}

}  // namespace cuda
}  // namespace refkp
