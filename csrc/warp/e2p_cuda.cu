// e2p on CUDA.
//
// Forward: one thread per tile pixel and all channels, one launch for all tiles. Neighbouring threads read neighbouring
// ERP pixels through the caches; positions are computed in registers (about 90 float operations), so that no grid is
// stored, and the kernel is bound by the reads of the ERP and the write of the tiles.
//
// Backward: the same threads scatter their taps. Float atomics would add in a different order each run, so gradients are
// scaled by a power of two, rounded to int64 and added as integers, whose sum has no order. The scale leaves room for all
// pixels of all tiles to fall on one ERP pixel (_fixed_point.py); the rounding is 2^-40 of the largest gradient
// for eight tiles of 672 x 672. A gather would need the inverse map, many tile pixels per ERP pixel and search at the
// seams. A second kernel turns the sums into gradients.
//
// Pyramid: a launch per level, a thread per pixel of it. Backward, the sums of each level are integers too, and the second
// kernel adds up those of all levels above a pixel.
//
// 1. cameras   2. pyramid   3. forward   4. backward   5. entry points
#include "common/cuda_support.cuh"
#include "warp/e2p_sphere.h"

namespace refkp {
namespace {

constexpr int kThreads = 256;
constexpr int kChannels = 4;  // channels that share one computation of positions

// ---- 1. cameras ----

struct Camera {
  float rays[9];
  float centre_column, centre_row;
  bool valid;
  int samples;
  int64_t image;
};

__device__ Camera read_camera(const E2pGeometry& g, int64_t tile) {
  Camera camera;
  camera.samples = static_cast<int>(g.samples[tile]);
  camera.centre_column = static_cast<float>(g.centre_column);  // exact: whole or half
  camera.centre_row = static_cast<float>(g.centre_row);
  camera.image = g.image_index[tile];
  camera.valid = camera.image >= 0 && camera.image < g.num_images;
  for (int i = 0; i < 9; ++i) {
    camera.rays[i] = static_cast<float>(g.rays[9 * tile + i]);
    camera.valid = camera.valid && isfinite(camera.rays[i]);
  }
  return camera;
}

// Sample `i` of samples^2 in a pixel: its position, and its level in the pyramid.
struct Sample {
  Position<float> at;
  float level;
};

template <bool kMip>
__device__ Sample locate_sample(const Sphere<float>& sphere, const Camera& camera, const Grid<float>& grid, int column,
                                int row, int i) {
  const float s = static_cast<float>(camera.samples);
  const float c = column + ((i % camera.samples + 0.5f) / s - 0.5f), r = row + ((i / camera.samples + 0.5f) / s - 0.5f);
  const float* m = camera.rays;
  const float t = c - camera.centre_column, u = r - camera.centre_row;
  return {locate(sphere, m[0] * t + (m[1] * u + m[2]), m[3] * t + (m[4] * u + m[5]), m[6] * t + (m[7] * u + m[8])),
          kMip ? sample_level(grid, c, r) : 0.0f};
}

// Calls body(level, share, sphere of the level, position in it) for the one or two levels of a sample. Kernels without a
// pyramid are compiled for level 0 alone, which takes fewer registers.
template <bool kMip, typename Body>
__device__ void for_each_level(const E2pGeometry& g, const Sphere<float>& sphere, const Sample& sample, const Body& body) {
  if (!kMip) return body(0, 1.0f, sphere, sample.at);
  const int first = static_cast<int>(sample.level);
  for (int level = first; level <= first + 1 && level <= g.num_levels; ++level) {
    const float share = level_share(sample.level, level);
    if (share == 0.0f) continue;
    if (level == 0) body(level, share, sphere, sample.at);
    else body(level, share, coarse_sphere(sphere, level), coarsen(coarse_sphere(sphere, level), sample.at, level));
  }
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

// ---- 2. pyramid ----

// Means of 2 x 2 pixels of `fine`, one for each of `coarse`, which is contiguous.
template <typename T>
__global__ void halve_kernel(const T* from, float* to, E2pGeometry fine, E2pGeometry coarse) {
  const int64_t index = blockIdx.x * static_cast<int64_t>(kThreads) + threadIdx.x;
  if (index >= coarse.num_images * coarse.stride_image) return;
  const int64_t column = index % coarse.erp_width, row = index / coarse.erp_width % coarse.erp_height;
  const int64_t channel = index / coarse.stride_channel % coarse.num_channels, image = index / coarse.stride_image;
  const T* above = from + image * fine.stride_image + channel * fine.stride_channel + 2 * row * fine.stride_row +
                   2 * column * fine.stride_column;
  const T* below = above + fine.stride_row;
  to[index] = 0.25f * ((cuda::to_float(above[0]) + cuda::to_float(above[fine.stride_column])) +
                       (cuda::to_float(below[0]) + cuda::to_float(below[fine.stride_column])));
}

// ---- 3. forward ----

// Differences keep a constant image exactly constant; where they are not finite the taps with a weight are added up.
template <typename T>
__device__ float sample(const T* plane, const Taps& taps, const Position<float>& at, bool nearest) {
  const float a = cuda::to_float(plane[taps.offset[0]]);
  if (nearest) return a;
  const float b = cuda::to_float(plane[taps.offset[1]]), c = cuda::to_float(plane[taps.offset[2]]);
  const float d = cuda::to_float(plane[taps.offset[3]]), x = at.column_fraction, y = at.row_fraction;
  const float above = a + x * (b - a), below = c + x * (d - c), value = above + y * (below - above);
  return isfinite(value) ? value : weighted_sum(a, b, c, d, x, y);
}

template <bool kMip, typename T, typename Out>
__global__ void forward_kernel(const T* erp, const float* pyramid, Out* out, E2pGeometry g, Sphere<float> sphere) {
  const int64_t plane = g.height * g.width;
  const int64_t index = blockIdx.x * static_cast<int64_t>(kThreads) + threadIdx.x;
  if (index >= g.num_tiles * plane) return;
  const int64_t tile = index / plane, pixel = index % plane;
  const int row = static_cast<int>(pixel / g.width), column = static_cast<int>(pixel % g.width);
  const Camera camera = read_camera(g, tile);
  const Grid<float> grid = make_grid(g, sphere, tile);
  Out* target = out + tile * g.num_channels * plane + pixel;
  const int samples = camera.valid ? camera.samples * camera.samples : 0;
  const float share = camera.valid ? 1.0f / samples : nanf("");
  for (int64_t first = 0; first < g.num_channels; first += kChannels) {
    float sum[kChannels] = {};
    const auto add = [&](auto image, int64_t stride_channel, const Sphere<float>& on, const Position<float>& at,
                         float weight) {
      const Taps taps = make_taps(on, at, g.nearest);
#pragma unroll
      for (int c = 0; c < kChannels; ++c)
        if (first + c < g.num_channels) sum[c] += weight * sample(image + c * stride_channel, taps, at, g.nearest);
    };
    for (int i = 0; i < samples; ++i) {
      const Sample one = locate_sample<kMip>(sphere, camera, grid, column, row, i);
      for_each_level<kMip>(g, sphere, one, [&](int level, float weight, const Sphere<float>& on, const Position<float>& at) {
        const int64_t level_plane = static_cast<int64_t>(on.height) * on.width;
        const int64_t coarse = level_offset(g, level) + (camera.image * g.num_channels + first) * level_plane;
        if (level > 0) add(pyramid + coarse, level_plane, on, at, weight);
        else add(erp + camera.image * g.stride_image + first * g.stride_channel, g.stride_channel, on, at, weight);
      });
    }
#pragma unroll
    for (int c = 0; c < kChannels; ++c)
      if (first + c < g.num_channels) target[(first + c) * plane] = cuda::from_float<Out>(share * sum[c]);
  }
}

// ---- 4. backward ----

// Elements before a level among the sums, which begin with level 0.
__device__ int64_t sums_offset(const E2pGeometry& g, int level) {
  return level == 0 ? 0 : g.num_images * g.num_channels * g.erp_height * g.erp_width + level_offset(g, level);
}

template <bool kMip, typename T>
__global__ void scatter_kernel(const T* grad_out, int64_t* sums, const double* scale, E2pGeometry g, Sphere<float> sphere) {
  const int64_t plane = g.height * g.width;
  const int64_t index = blockIdx.x * static_cast<int64_t>(kThreads) + threadIdx.x;
  if (index >= g.num_tiles * plane) return;
  const int64_t tile = index / plane, pixel = index % plane;
  const int row = static_cast<int>(pixel / g.width), column = static_cast<int>(pixel % g.width);
  const Camera camera = read_camera(g, tile);
  if (!camera.valid) return;
  const int samples = camera.samples * camera.samples;
  const double factor = *scale / samples;
  const Grid<float> grid = make_grid(g, sphere, tile);
  const T* grad = grad_out + tile * g.num_channels * plane + pixel;
  for (int i = 0; i < samples; ++i) {
    const Sample one = locate_sample<kMip>(sphere, camera, grid, column, row, i);
    for_each_level<kMip>(g, sphere, one, [&](int level, float weight, const Sphere<float>& on, const Position<float>& at) {
      const int64_t level_plane = static_cast<int64_t>(on.height) * on.width;
      int64_t* target = sums + sums_offset(g, level) + camera.image * g.num_channels * level_plane;
      const Taps taps = make_taps(on, at, g.nearest);
      for (int64_t c = 0; c < g.num_channels; ++c) {
        const double value = cuda::to_float(grad[c * plane]) * factor * weight;
        for (int k = 0; k < (g.nearest ? 1 : 4); ++k)
          atomicAdd(reinterpret_cast<unsigned long long*>(target + c * level_plane + taps.offset[k]),
                    static_cast<unsigned long long>(__double2ll_rn(value * taps.weight[k])));
      }
    });
  }
}

// A pixel collects a quarter of each pixel above it, level by level.
template <typename T>
__global__ void finish_kernel(const int64_t* sums, T* grad_erp, const double* scale, E2pGeometry g) {
  const int64_t index = blockIdx.x * static_cast<int64_t>(kThreads) + threadIdx.x;
  if (index >= g.num_images * g.num_channels * g.erp_height * g.erp_width) return;
  const int64_t column = index % g.erp_width, row = index / g.erp_width % g.erp_height;
  const int64_t image_channel = index / (g.erp_height * g.erp_width);
  double total = static_cast<double>(sums[index]), part = 1.0;
  for (int64_t level = 1; level <= g.num_levels; ++level) {
    const int64_t height = g.erp_height >> level, width = g.erp_width >> level;
    const int64_t at = (image_channel * height + (row >> level)) * width + (column >> level);
    part *= 0.25;
    total += part * static_cast<double>(sums[sums_offset(g, level) + at]);
  }
  grad_erp[index] = cuda::from_float<T>(static_cast<float>(total / *scale));
}

// ---- 5. entry points ----

unsigned int num_blocks(int64_t threads) { return cuda::grid_size(cuda::ceil_div(threads, kThreads)); }

template <typename T>
void halve(const T* from, const E2pGeometry& g, int64_t level, float* pyramid, cudaStream_t stream) {
  const E2pGeometry fine = level_geometry(g, level - 1), coarse = level_geometry(g, level);
  halve_kernel<<<num_blocks(coarse.num_images * coarse.stride_image), kThreads, 0, stream>>>(
      from, pyramid + level_offset(g, level), fine, coarse);
  cuda::check_launch("e2p_pyramid");
}

template <typename T>
void fill_pyramid(const void* erp, const E2pGeometry& g, float* pyramid, cudaStream_t stream) {
  halve(static_cast<const T*>(erp), g, 1, pyramid, stream);
  for (int64_t level = 2; level <= g.num_levels; ++level)
    halve(pyramid + level_offset(g, level - 1), g, level, pyramid, stream);
}

template <typename T, typename Out>
void forward(const void* erp, const void* pyramid, void* out, const E2pGeometry& g, cudaStream_t stream) {
  const auto kernel = g.num_levels > 0 ? forward_kernel<true, T, Out> : forward_kernel<false, T, Out>;
  kernel<<<num_blocks(g.num_tiles * g.height * g.width), kThreads, 0, stream>>>(
      static_cast<const T*>(erp), static_cast<const float*>(pyramid), static_cast<Out*>(out), g, make_sphere<float>(g));
  cuda::check_launch("e2p");
}

}  // namespace

namespace cuda {

void e2p_pyramid(DType dtype, const void* erp, const E2pGeometry& geometry, void* pyramid, void* stream) {
  const auto queue = static_cast<cudaStream_t>(stream);
  if (dtype == DType::uint8) return fill_pyramid<uint8_t>(erp, geometry, static_cast<float*>(pyramid), queue);
  dispatch_storage(dtype, [&](auto element) {
    fill_pyramid<decltype(element)>(erp, geometry, static_cast<float*>(pyramid), queue);
  });
}

void e2p(DType dtype, const void* erp, const void* pyramid, const E2pGeometry& geometry, void* out, void* stream) {
  const auto queue = static_cast<cudaStream_t>(stream);
  if (dtype == DType::uint8) return forward<uint8_t, float>(erp, pyramid, out, geometry, queue);
  dispatch_storage(dtype, [&](auto element) {
    using T = decltype(element);
    forward<T, T>(erp, pyramid, out, geometry, queue);
  });
}

void e2p_backward(DType dtype, const void* grad_out, const E2pGeometry& g, int64_t* sums, const double* scale,
                  void* grad_erp, void* stream) {
  const auto queue = static_cast<cudaStream_t>(stream);
  const int64_t count = g.num_images * g.num_channels * g.erp_height * g.erp_width;
  dispatch_storage(dtype, [&](auto element) {
    using T = decltype(element);
    const auto scatter = g.num_levels > 0 ? scatter_kernel<true, T> : scatter_kernel<false, T>;
    scatter<<<num_blocks(g.num_tiles * g.height * g.width), kThreads, 0, queue>>>(
        static_cast<const T*>(grad_out), sums, scale, g, make_sphere<float>(g));
    check_launch("e2p_backward");
    finish_kernel<T><<<num_blocks(count), kThreads, 0, queue>>>(sums, static_cast<T*>(grad_erp), scale, g);
    check_launch("e2p_backward");
  });
}

}  // namespace cuda
}  // namespace refkp
