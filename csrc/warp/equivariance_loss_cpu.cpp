// equivariance_loss on the CPU.
//
// Forward: items are blocks of rows of one map stack; a row of B' lives in a scratch line only until its squares are
// summed. Backward: items are (map stack, group of channels), because one thread alone scatters into a plane of A'; a row
// of B' is sampled again, turned into the two gradients, and scattered. Row sums are double and added in order.
#include "warp/equivariance_loss.h"

#include "common/huge_pages.h"
#include "common/parallel.h"
#include "warp/bilinear_row.h"

namespace refkp {
namespace REFKP_ISA {
namespace {

constexpr int64_t kRowsPerItem = 8;

// coverage[j] in [0,1] of one row; returns its sum.
template <typename T>
double coverage_row(const EquivarianceShape& s, const BilinearRow<T>& taps, T* coverage) {
  double sum = 0;
  for (int64_t j = 0; j < s.width; ++j) {
    if (j >= taps.inner_begin && j < taps.inner_end) {
      coverage[j] = 1;
    } else if (j >= taps.begin && j < taps.end) {
      const BorderTaps<T> t = border_taps<T>(taps, j, nullptr, s.height, s.width);
      coverage[j] = t.weight[0] + t.weight[1] + t.weight[2] + t.weight[3];
    } else {
      coverage[j] = 0;
    }
    sum += coverage[j];
  }
  return sum;
}

// The sum of (W A - B')^2 over one row; `coverage` is null where W = 1. Sixteen running sums in a fixed pattern:
// they vectorise, and do not depend on the instruction set's width.
template <typename T>
double sum_of_squares(const T* maps, const T* returned, const T* coverage, int64_t count) {
  T lanes[16] = {};
  const auto add = [&](int64_t j, int l) {
    const T residual = (coverage != nullptr ? coverage[j] * maps[j] : maps[j]) - returned[j];
    lanes[l] += residual * residual;
  };
  int64_t j = 0;
  for (; j + 16 <= count; j += 16)
    for (int l = 0; l < 16; ++l) add(j + l, l);
  for (; j < count; ++j) add(j, static_cast<int>(j % 16));
  double sum = 0;
  for (int l = 0; l < 16; ++l) sum += lanes[l];
  return sum;
}

// Turns a row of B' into its gradient, scale (B' - W A), and writes that of A, scale W (W A - B').
template <typename T>
void gradient_row(const T* __restrict__ maps, const T* __restrict__ coverage, T scale, int64_t count,
                  T* __restrict__ returned, T* __restrict__ grad_maps) {
  for (int64_t j = 0; j < count; ++j) {
    const T weight = coverage != nullptr ? coverage[j] : T(1);
    const T grad = scale * (weight * maps[j] - returned[j]);
    grad_maps[j] = weight * grad;
    returned[j] = -grad;
  }
}

template <typename T>
void forward(const T* maps, const T* maps_warped, const double* theta, bool coverage, const EquivarianceShape& s,
             double* loss, double* denominator, int threads) {
  const int64_t plane = s.height * s.width, rows = s.batch * s.height;
  double* squares = new double[static_cast<size_t>(2 * rows + 1)];
  double* covered = squares + rows;
  parallel_for(rows, kRowsPerItem, threads, [&](int64_t begin, int64_t end) {
    BilinearRow<T> taps(s.width);
    T* returned = new T[static_cast<size_t>(2 * s.width)];
    T* weight = coverage ? returned + s.width : nullptr;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t b = item / s.height, i = item % s.height;
      const PixelMap map = pixel_map(theta + 6 * b, true, s.height, s.width, s.height, s.width);
      compute_taps(map, i, s.height, s.width, s.width, taps);
      covered[item] = coverage ? coverage_row(s, taps, weight) : static_cast<double>(s.width);
      squares[item] = 0;
      for (int64_t k = 0; k < s.channels; ++k) {
        const int64_t first = (b * s.channels + k) * plane;
        sample_row(maps_warped + first, s.height, s.width, s.width, taps, T(0), returned);
        squares[item] += sum_of_squares(maps + first + i * s.width, returned, weight, s.width);
      }
    }
    delete[] returned;
  });
  for (int64_t b = 0; b < s.batch; ++b) {
    double square_sum = 0, covered_sum = 0;
    for (int64_t i = 0; i < s.height; ++i) {
      square_sum += squares[b * s.height + i];
      covered_sum += covered[b * s.height + i];
    }
    denominator[b] = covered_sum * static_cast<double>(s.channels);
    loss[b] = denominator[b] > 0 ? square_sum / denominator[b] : 0.0;
  }
  delete[] squares;
}

template <typename T>
void backward(const T* maps, const T* maps_warped, const double* theta, bool coverage, const double* grad_item,
              const EquivarianceShape& s, T* grad_maps, T* grad_maps_warped, int threads) {
  const int64_t plane = s.height * s.width, groups = (s.channels + kGroup - 1) / kGroup;
  const size_t bytes = sizeof(T) * static_cast<size_t>(s.batch * s.channels * plane);
  prefer_huge_pages(grad_maps, bytes);
  prefer_huge_pages(grad_maps_warped, bytes);
  parallel_for(s.batch * groups, 1, threads, [&](int64_t begin, int64_t end) {
    BilinearRow<T> taps(s.width);
    InterleavedPlanes<T> planes(s.height, s.width, s.width);
    T* returned = new T[static_cast<size_t>((kGroup + 1) * s.width)];
    T* weight = coverage ? returned + kGroup * s.width : nullptr;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t b = item / groups, first = (item % groups) * kGroup, rest = s.channels - first;
      const int64_t channels = rest < kGroup ? rest : kGroup;
      const int64_t start = (b * s.channels + first) * plane;
      const T scale = static_cast<T>(grad_item[b]);
      const PixelMap map = pixel_map(theta + 6 * b, true, s.height, s.width, s.height, s.width);
      planes.clear();
      for (int64_t i = 0; i < s.height; ++i) {
        compute_taps(map, i, s.height, s.width, s.width, taps);
        if (coverage) coverage_row(s, taps, weight);
        for (int64_t k = 0; k < channels; ++k) {
          const int64_t at = start + k * plane + i * s.width;
          sample_row(maps_warped + start + k * plane, s.height, s.width, s.width, taps, T(0), returned + k * s.width);
          gradient_row(maps + at, weight, scale, s.width, returned + k * s.width, grad_maps + at);
        }
        scatter_row(returned, s.width, channels, s.width, taps, planes);
      }
      write_planes(planes, channels, grad_maps_warped + start);
    }
    delete[] returned;
  });
}

}  // namespace

void equivariance_loss(DType dtype, const void* maps, const void* maps_warped, const double* theta, bool coverage,
                       const EquivarianceShape& shape, double* loss, double* denominator, int threads) {
  if (dtype == DType::float64)
    forward(static_cast<const double*>(maps), static_cast<const double*>(maps_warped), theta, coverage, shape, loss,
            denominator, threads);
  else
    forward(static_cast<const float*>(maps), static_cast<const float*>(maps_warped), theta, coverage, shape, loss,
            denominator, threads);
}

void equivariance_loss_backward(DType dtype, const void* maps, const void* maps_warped, const double* theta, bool coverage,
                                const double* grad_item, const EquivarianceShape& shape, void* grad_maps,
                                void* grad_maps_warped, int threads) {
  if (dtype == DType::float64)
    backward(static_cast<const double*>(maps), static_cast<const double*>(maps_warped), theta, coverage, grad_item, shape,
             static_cast<double*>(grad_maps), static_cast<double*>(grad_maps_warped), threads);
  else
    backward(static_cast<const float*>(maps), static_cast<const float*>(maps_warped), theta, coverage, grad_item, shape,
             static_cast<float*>(grad_maps), static_cast<float*>(grad_maps_warped), threads);
}

}  // namespace REFKP_ISA
}  // namespace refkp
