// camera_warp on the CPU.
//
// Forward: items are rows of the output, which go in chunks of kChunk pixels (camera_chunk.h). A shrinking pixel takes 64
// taps, which bounds the kernel; bytes are therefore read as whole pixels and summed as integers (camera_bytes.h).
// Backward: items are channels of images, because one thread alone scatters into a plane.
//
// 1. forward   2. backward   3. entry points (before them: camera_map.h, camera_chunk.h, camera_bytes.h)
#include <cstring>

#include "common/compute.h"
#include "common/huge_pages.h"
#include "common/parallel.h"
#include "warp/camera_bytes.h"

namespace refkp {
namespace REFKP_ISA {
namespace {

constexpr int kChannels = 4;  // channels that share one computation of positions

// ---- 1. forward ----

// What a chunk has collected: weighted sums of pixels by channel, and the weights.
template <class Real>
struct Sums {
  Real of[kChunk][kChannels], weight[kChunk];
};

// One tap of any image; a neighbour without weight does not count, be it NaN.
template <class T, class Real>
inline Real tap_value(const T* at, int64_t right, int64_t down, const Taps<Real>& taps, int j) {
  const Real square[4] = {static_cast<Real>(at[0]), static_cast<Real>(at[right]), static_cast<Real>(at[down]),
                          static_cast<Real>(at[down + right])};
  Real value = 0;
  for (int i = 0; i < 4; ++i) value += taps.weight[i][j] * square[i];
  if (value - value == Real(0)) return value;
  value = 0;
  for (int i = 0; i < 4; ++i)
    if (taps.weight[i][j] != 0) value += taps.weight[i][j] * square[i];
  return value;
}

template <class T, class Real>
struct Forward {
  const CameraWarpProblem& p;
  const T* image;
  T* out;
  Raster<Real> raster;

  void fill_row(int64_t b, int64_t row) const {
    const Camera<Real> camera = load_camera<Real>(p.cameras + kCameraSize * b);
    for (int64_t column = 0; column < p.out_width; column += kChunk) {
      const int count = static_cast<int>(p.out_width - column < kChunk ? p.out_width - column : kChunk);
      Plan<Real> plan;
      make_plan(p, camera, column, row, plan);
      for (int64_t first = 0; first < p.channels; first += kChannels) {
        const int channels = static_cast<int>(p.channels - first < kChannels ? p.channels - first : kChannels);
        const T* from = image + b * p.stride_image + first * p.stride_channel;
        Sums<Real> sums;
        std::memset(&sums, 0, sizeof(sums));
        add_samples(camera, plan, from, channels, column, row, count, sums);
        write(plan, sums, b, first, channels, column, row, count);
      }
    }
  }

  void add_samples(const Camera<Real>& camera, const Plan<Real>& plan, const T* from, int channels, int64_t column,
                   int64_t row, int count, Sums<Real>& sums) const {
    if constexpr (sizeof(T) == 1) {
      if (p.in_width > 1 && p.in_height > 1) {
        if (is_interleaved(p)) return add_byte_samples<false>(camera, plan, from, channels, column, row, count, sums);
        if (is_planar(p)) return add_byte_samples<true>(camera, plan, from, channels, column, row, count, sums);
      }
    }
    for_each_cell(raster, camera, plan, column, row, count, [&](const Cell<Real>& cell, int k) {
      const auto add = [&](const Taps<Real>& taps, int taps_count) {
        add_taps(from, channels, taps, taps_count, sums.of[k]);
        sums.weight[k] += covered(taps, taps_count);
      };
      if (cell.where[k] == kBorder) for_each_row<false>(raster, plan, cell, k, add);
      else for_each_row<true>(raster, plan, cell, k, add);
    });
  }

  void add_taps(const T* from, int channels, const Taps<Real>& taps, int count, Real* sums) const {
    const int64_t right = p.in_width > 1 ? p.stride_column : 0, down = p.in_height > 1 ? p.stride_row : 0;
    for (int c = 0; c < channels; ++c) {
      const T* plane = from + c * p.stride_channel;
      Real sum = 0;
      for (int j = 0; j < count; ++j) sum += tap_value(plane + taps.offset[j], right, down, taps, j);
      sums[c] += sum;
    }
  }

  template <bool kPlanes>
  void add_byte_samples(const Camera<Real>& camera, const Plan<Real>& plan, const uint8_t* from, int channels,
                        int64_t column, int64_t row, int count, Sums<Real>& sums) const {
    const int64_t last = (p.in_height - 1) * p.stride_row + (p.in_width - 1) * p.stride_column;
    const Bytes bytes = {from, from + last + (kPlanes ? 1 : p.channels), raster.stride_row, raster.stride_column, p.stride_channel, channels};
    const bool room = has_room(p);
    for_each_cell(raster, camera, plan, column, row, count, [&](const Cell<Real>& cell, int k) {
      add_cell<kPlanes>(bytes, raster, plan, cell, k, room, sums.of[k], sums.weight[k]);
    });
  }

  void write(const Plan<Real>& plan, const Sums<Real>& sums, int64_t b, int64_t first, int channels, int64_t column,
             int64_t row, int count) const {
    const int64_t plane = p.out_height * p.out_width;
    for (int c = 0; c < channels; ++c) {
      T* to = out + (b * p.channels + first + c) * plane + row * p.out_width + column;
      const Real fill = static_cast<Real>(p.fill[first + c]);
      for (int k = 0; k < count; ++k) {
        const Real taps = plan.count(k);
        to[k] = rounded((sums.of[k][c] + (taps - sums.weight[k]) * fill) / taps);
      }
    }
  }

  static T rounded(Real value) {
    if constexpr (sizeof(T) > 1) return value;
    const Real nearest = value + Real(0.5);
    return static_cast<T>(nearest < 0 ? Real(0) : nearest < 255 ? nearest : Real(255));
  }
};

template <class T>
void forward(const void* image, const CameraWarpProblem& p, void* out, int threads) {
  const Forward<T, typename Compute<T>::Real> pass = {p, static_cast<const T*>(image), static_cast<T*>(out),
                                                             make_raster<typename Compute<T>::Real>(p)};
  prefer_huge_pages(out, sizeof(T) * static_cast<size_t>(p.batch * p.channels * p.out_height * p.out_width));
  parallel_for(p.batch * p.out_height, 4, threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) pass.fill_row(i / p.out_height, i % p.out_height);
  });
}

// ---- 2. backward ----

// Adds a row of taps to a plane; what has no weight gets nothing, be the gradient NaN.
template <class Real>
void scatter_taps(const CameraWarpProblem& p, const Taps<Real>& taps, int count, Real grad, Real* plane) {
  const int64_t right = p.in_width > 1 ? p.stride_column : 0, down = p.in_height > 1 ? p.stride_row : 0;
  for (int j = 0; j < count; ++j) {
    Real* at = plane + taps.offset[j];
    if (taps.weight[0][j] != 0) at[0] += taps.weight[0][j] * grad;
    if (taps.weight[1][j] != 0) at[right] += taps.weight[1][j] * grad;
    if (taps.weight[2][j] != 0) at[down] += taps.weight[2][j] * grad;
    if (taps.weight[3][j] != 0) at[down + right] += taps.weight[3][j] * grad;
  }
}

template <class Real>
void backward_plane(const Real* grad_out, const CameraWarpProblem& p, int64_t b, Real* plane) {
  const Camera<Real> camera = load_camera<Real>(p.cameras + kCameraSize * b);
  const Raster<Real> raster = make_raster<Real>(p);
  std::memset(plane, 0, sizeof(Real) * static_cast<size_t>(p.in_height * p.in_width));
  for (int64_t row = 0; row < p.out_height; ++row) {
    for (int64_t column = 0; column < p.out_width; column += kChunk) {
      const int count = static_cast<int>(p.out_width - column < kChunk ? p.out_width - column : kChunk);
      const Real* grad = grad_out + row * p.out_width + column;
      Plan<Real> plan;
      make_plan(p, camera, column, row, plan);
      for_each_cell(raster, camera, plan, column, row, count, [&](const Cell<Real>& cell, int k) {
        for_each_row<false>(raster, plan, cell, k, [&](const Taps<Real>& taps, int taps_count) {
          scatter_taps(p, taps, taps_count, grad[k] / plan.count(k), plane);
        });
      });
    }
  }
}

template <class Real>
void backward(const void* grad_out, const CameraWarpProblem& p, void* grad_image, int threads) {
  const int64_t in_plane = p.in_height * p.in_width, out_plane = p.out_height * p.out_width;
  prefer_huge_pages(grad_image, sizeof(Real) * static_cast<size_t>(p.batch * p.channels * in_plane));
  parallel_for(p.batch * p.channels, 1, threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      backward_plane(static_cast<const Real*>(grad_out) + i * out_plane, p, i / p.channels,
                     static_cast<Real*>(grad_image) + i * in_plane);
  });
}

}  // namespace

// ---- 3. entry points ----

void camera_warp(DType dtype, const void* image, const CameraWarpProblem& problem, void* out, int threads) {
  if (dtype == DType::uint8) forward<uint8_t>(image, problem, out, threads);
  else if (dtype == DType::float32) forward<float>(image, problem, out, threads);
  else forward<double>(image, problem, out, threads);
}

void camera_warp_backward(DType dtype, const void* grad_out, const CameraWarpProblem& problem, void* grad_image,
                          int threads) {
  if (dtype == DType::float32) backward<float>(grad_out, problem, grad_image, threads);
  else backward<double>(grad_out, problem, grad_image, threads);
}

}  // namespace REFKP_ISA
}  // namespace refkp
