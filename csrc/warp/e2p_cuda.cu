// e2p on CUDA.
//
// Forward: one thread per tile pixel and all channels, one launch for all tiles. Neighbouring threads read neighbouring
// ERP pixels through the caches; positions are computed in registers (about 90 float operations), so that no grid is
// stored, and the kernel is bound by the reads of the ERP and the write of the tiles.
//
// Backward: the same threads scatter their taps. Float atomics would add in a different order each run, so gradients are
// scaled by a power of two, rounded to int64 and added as integers, whose sum has no order. The scale leaves room for all
// pixels of all tiles to fall on one ERP pixel (library: fixed_point.py); the rounding is 2^-40 of the largest gradient
// for eight tiles of 672 x 672. A gather would need the inverse map, many tile pixels per ERP pixel and search at the
// seams. A second kernel turns the sums into gradients.
//
// 1. cameras   2. forward   3. backward   4. entry points
#include "common/cuda_support.cuh"
#include "warp/e2p_sphere.h"

namespace refkp {
namespace {

constexpr int kThreads = 256;
constexpr int kChannels = 4;  // channels that share one computation of positions

// ---- 1. cameras ----

struct Camera {
  float rays[9];
  bool valid;
  int samples;
  int64_t image;
};

__device__ Camera read_camera(const E2pGeometry& g, int64_t tile) {
  Camera camera;
  camera.samples = static_cast<int>(g.samples[tile]);
  camera.image = g.image_index[tile];
  camera.valid = camera.image >= 0 && camera.image < g.num_images;
  for (int i = 0; i < 9; ++i) {
    camera.rays[i] = static_cast<float>(g.rays[9 * tile + i]);
    camera.valid = camera.valid && isfinite(camera.rays[i]);
  }
  return camera;
}

// Position of sample `i` of samples^2 in a pixel.
__device__ Position<float> locate_sample(const Sphere<float>& sphere, const Camera& camera, int column, int row, int i) {
  const float s = static_cast<float>(camera.samples);
  const float c = column + ((i % camera.samples + 0.5f) / s - 0.5f), r = row + ((i / camera.samples + 0.5f) / s - 0.5f);
  const float* m = camera.rays;
  return locate(sphere, m[0] * c + (m[1] * r + m[2]), m[3] * c + (m[4] * r + m[5]), m[6] * c + (m[7] * r + m[8]));
}

struct Taps {
  int offset[4];
  float weight[4];
};

__device__ Taps make_taps(const Sphere<float>& sphere, const Position<float>& at, bool nearest) {
  if (nearest) {
    const int offset = nearest_offset(sphere, at);
    return {{offset, offset, offset, offset}, {1.0f, 0.0f, 0.0f, 0.0f}};
  }
  const float x = at.column_fraction, y = at.row_fraction;
  return {{tap_offset(sphere, at.row, at.column), tap_offset(sphere, at.row, at.column + 1),
           tap_offset(sphere, at.row + 1, at.column), tap_offset(sphere, at.row + 1, at.column + 1)},
          {(1 - y) * (1 - x), (1 - y) * x, y * (1 - x), y * x}};
}

// ---- 2. forward ----

// Differences keep a constant image exactly constant.
template <typename T>
__device__ float sample(const T* plane, const Taps& taps, const Position<float>& at, bool nearest) {
  const float first = cuda::to_float(plane[taps.offset[0]]);
  if (nearest) return first;
  const float above = first + at.column_fraction * (cuda::to_float(plane[taps.offset[1]]) - first);
  const float lower = cuda::to_float(plane[taps.offset[2]]);
  const float below = lower + at.column_fraction * (cuda::to_float(plane[taps.offset[3]]) - lower);
  return above + at.row_fraction * (below - above);
}

template <typename T, typename Out>
__global__ void forward_kernel(const T* erp, Out* out, E2pGeometry g, Sphere<float> sphere) {
  const int64_t plane = g.height * g.width;
  const int64_t index = blockIdx.x * static_cast<int64_t>(kThreads) + threadIdx.x;
  if (index >= g.num_tiles * plane) return;
  const int64_t tile = index / plane, pixel = index % plane;
  const int row = static_cast<int>(pixel / g.width), column = static_cast<int>(pixel % g.width);
  const Camera camera = read_camera(g, tile);
  Out* target = out + tile * g.num_channels * plane + pixel;
  const int samples = camera.valid ? camera.samples * camera.samples : 0;
  const float share = camera.valid ? 1.0f / samples : nanf("");
  for (int64_t first = 0; first < g.num_channels; first += kChannels) {
    const T* image = erp + camera.image * g.stride_image + first * g.stride_channel;
    float sum[kChannels] = {};
    for (int i = 0; i < samples; ++i) {
      const Position<float> at = locate_sample(sphere, camera, column, row, i);
      const Taps taps = make_taps(sphere, at, g.nearest);
#pragma unroll
      for (int c = 0; c < kChannels; ++c)
        if (first + c < g.num_channels) sum[c] += sample(image + c * g.stride_channel, taps, at, g.nearest);
    }
#pragma unroll
    for (int c = 0; c < kChannels; ++c)
      if (first + c < g.num_channels) target[(first + c) * plane] = cuda::from_float<Out>(share * sum[c]);
  }
}

// ---- 3. backward ----

template <typename T>
__global__ void scatter_kernel(const T* grad_out, int64_t* sums, const double* scale, E2pGeometry g, Sphere<float> sphere) {
  const int64_t plane = g.height * g.width, erp_plane = g.erp_height * g.erp_width;
  const int64_t index = blockIdx.x * static_cast<int64_t>(kThreads) + threadIdx.x;
  if (index >= g.num_tiles * plane) return;
  const int64_t tile = index / plane, pixel = index % plane;
  const int row = static_cast<int>(pixel / g.width), column = static_cast<int>(pixel % g.width);
  const Camera camera = read_camera(g, tile);
  if (!camera.valid) return;
  const int samples = camera.samples * camera.samples;
  const double factor = *scale / samples;
  const T* grad = grad_out + tile * g.num_channels * plane + pixel;
  int64_t* target = sums + camera.image * g.num_channels * erp_plane;
  for (int i = 0; i < samples; ++i) {
    const Taps taps = make_taps(sphere, locate_sample(sphere, camera, column, row, i), g.nearest);
    for (int64_t c = 0; c < g.num_channels; ++c) {
      const double value = cuda::to_float(grad[c * plane]) * factor;
      for (int k = 0; k < (g.nearest ? 1 : 4); ++k)
        atomicAdd(reinterpret_cast<unsigned long long*>(target + c * erp_plane + taps.offset[k]),
                  static_cast<unsigned long long>(__double2ll_rn(value * taps.weight[k])));
    }
  }
}

template <typename T>
__global__ void finish_kernel(const int64_t* sums, T* grad_erp, const double* scale, int64_t count) {
  const int64_t i = blockIdx.x * static_cast<int64_t>(kThreads) + threadIdx.x;
  if (i < count) grad_erp[i] = cuda::from_float<T>(static_cast<float>(static_cast<double>(sums[i]) / *scale));
}

// ---- 4. entry points ----

unsigned int num_blocks(int64_t threads) { return cuda::grid_size(cuda::ceil_div(threads, kThreads)); }

template <typename T, typename Out>
void forward(const void* erp, void* out, const E2pGeometry& g, cudaStream_t stream) {
  forward_kernel<<<num_blocks(g.num_tiles * g.height * g.width), kThreads, 0, stream>>>(
      static_cast<const T*>(erp), static_cast<Out*>(out), g, make_sphere<float>(g));
  cuda::check_launch("e2p");
}

}  // namespace

namespace cuda {

void e2p(DType dtype, const void* erp, const E2pGeometry& geometry, void* out, void* stream) {
  const auto queue = static_cast<cudaStream_t>(stream);
  if (dtype == DType::uint8) return forward<uint8_t, float>(erp, out, geometry, queue);
  dispatch_storage(dtype, [&](auto element) {
    using T = decltype(element);
    forward<T, T>(erp, out, geometry, queue);
  });
}

void e2p_backward(DType dtype, const void* grad_out, const E2pGeometry& g, int64_t* sums, const double* scale,
                  void* grad_erp, void* stream) {
  const auto queue = static_cast<cudaStream_t>(stream);
  const int64_t count = g.num_images * g.num_channels * g.erp_height * g.erp_width;
  dispatch_storage(dtype, [&](auto element) {
    using T = decltype(element);
    scatter_kernel<T><<<num_blocks(g.num_tiles * g.height * g.width), kThreads, 0, queue>>>(
        static_cast<const T*>(grad_out), sums, scale, g, make_sphere<float>(g));
    check_launch("e2p_backward");
    finish_kernel<T><<<num_blocks(count), kThreads, 0, queue>>>(sums, static_cast<T*>(grad_erp), scale, count);
    check_launch("e2p_backward");
  });
}

}  // namespace cuda
}  // namespace refkp
