// camera_warp on CUDA: uint8, float32, float16 or bfloat16 storage, float32 arithmetic.
//
// Forward: a thread an output pixel and all channels; it goes through the rows and columns of its footprint. Neighbouring
// threads read neighbouring parts of the image through the caches, whose traffic bounds the kernel.
// Backward: the same threads scatter their weights as integers, whose sum has no order (as e2p; _fixed_point.py).
#include "common/cuda_support.cuh"
#include "warp/camera_map.h"
#include "warp/camera_warp.h"

namespace refkp {
namespace {

constexpr int kThreads = 256;
constexpr int kChannels = 4;  // channels that share one computation of weights

__device__ float weigh(const Tent<float>& tent, float distance) {
  const float away = fabsf(distance), t = fminf(fmaxf(tent.half - away, -2 * tent.curve), 1.0f);
  const float s = fmaxf(1 - tent.half - away, 0.0f);
  return tent.scale * (tent.curve + t * (1 - tent.curve * fabsf(t)) - tent.curve * s * s);
}

// The pixels inside an axis that a side may weigh: from `first` on, before `end`.
struct Range {
  int first, end;
};

__device__ Range find_range(const Tent<float>& tent, float middle, int64_t size) {
  const float low = fminf(fmaxf(middle - tent.reach(), -1.0f), static_cast<float>(size));
  const float high = fminf(fmaxf(middle + tent.reach(), -1.0f), static_cast<float>(size));
  return {static_cast<int>(floorf(low)) + 1, static_cast<int>(ceilf(high))};
}

// Calls body(offset in a plane, weight) for every pixel of the image that a footprint weighs.
template <typename Body>
__device__ void for_each_weight(const CameraWarpProblem& p, const Camera<float>& camera, float column, float row,
                                const Body& body) {
  const Linear<float> at = linearise(camera, column, row);
  if (!is_before_fold(camera, at) || isnan(at.x) || isnan(at.y)) return;
  const Footprint<float> foot = find_footprint(at, p.antialias);
  const Tent<float> across(foot.width), down(foot.height);
  const Range rows = find_range(down, foot.y, p.in_height);
  for (int r = rows.first; r < rows.end; ++r) {
    const float distance = r - foot.y, middle = foot.x + foot.shear * distance, row_weight = weigh(down, distance);
    const Range columns = find_range(across, middle, p.in_width);
    for (int c = columns.first; c < columns.end; ++c) {
      const float weight = row_weight * weigh(across, c - middle);
      if (weight != 0.0f) body(r * p.stride_row + c * p.stride_column, weight);
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
  for (int64_t first = 0; first < p.channels; first += kChannels) {
    const T* from = image + pixel.image * p.stride_image + first * p.stride_channel;
    float sum[kChannels] = {}, covered = 0;
    for_each_weight(p, camera, pixel.column, pixel.row, [&](int64_t offset, float weight) {
      covered += weight;
#pragma unroll
      for (int c = 0; c < kChannels; ++c)
        if (first + c < p.channels) sum[c] += weight * cuda::to_float(from[c * p.stride_channel + offset]);
    });
#pragma unroll
    for (int c = 0; c < kChannels; ++c) {
      if (first + c >= p.channels) continue;
      out[(pixel.image * p.channels + first + c) * p.out_height * p.out_width + pixel.offset] =
          store<T>(sum[c] + (1 - covered) * static_cast<float>(p.fill[first + c]));
    }
  }
}

template <typename T>
__global__ void scatter_kernel(const T* grad_out, int64_t* sums, const double* scale, CameraWarpProblem p) {
  Pixel pixel;
  if (!find_pixel(p, pixel)) return;
  const Camera<float> camera = load_camera<float>(p.cameras + kCameraSize * pixel.image);
  const int64_t out_plane = p.out_height * p.out_width;
  for_each_weight(p, camera, pixel.column, pixel.row, [&](int64_t offset, float weight) {
    for (int64_t c = 0; c < p.channels; ++c) {
      const double value = cuda::to_float(grad_out[(pixel.image * p.channels + c) * out_plane + pixel.offset]) * *scale;
      int64_t* at = sums + pixel.image * p.stride_image + c * p.stride_channel + offset;
      atomicAdd(reinterpret_cast<unsigned long long*>(at), static_cast<unsigned long long>(__double2ll_rn(value * weight)));
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
