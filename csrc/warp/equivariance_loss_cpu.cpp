// equivariance_loss on the CPU.
//
// Forward: items are blocks of rows of one map stack; a row of B' lives in a scratch line only until its squares are
// summed. Backward: items are (map stack, group of channels), because one thread alone scatters into a plane of A'; the
// residual row is computed again, written as the gradient of A, and scattered. Row sums are double and added in order.
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

// residual[j] = (W) A - B' of one row of one map; `coverage` is null where W = 1.
template <typename T>
void residual_row(const T* maps_row, const T* plane_warped, const EquivarianceShape& s, const BilinearRow<T>& taps,
                  const T* coverage, T* residual) {
  sample_row(plane_warped, s.height, s.width, s.width, taps, T(0), residual);
  if (coverage == nullptr)
    for (int64_t j = 0; j < s.width; ++j) residual[j] = maps_row[j] - residual[j];
  else
    for (int64_t j = 0; j < s.width; ++j) residual[j] = coverage[j] * maps_row[j] - residual[j];
}

// Sixteen running sums in a fixed pattern: they vectorise, and do not depend on the instruction set's width.
template <typename T>
double sum_of_squares(const T* values, int64_t count) {
  T lanes[16] = {};
  int64_t j = 0;
  for (; j + 16 <= count; j += 16)
    for (int l = 0; l < 16; ++l) lanes[l] += values[j + l] * values[j + l];
  double sum = 0;
  for (int l = 0; l < 16; ++l) sum += lanes[l];
  for (; j < count; ++j) sum += static_cast<double>(values[j]) * values[j];
  return sum;
}

template <typename T>
void forward(const T* maps, const T* maps_warped, const double* theta, bool coverage, const EquivarianceShape& s,
             double* loss, double* denominator, int threads) {
  const int64_t plane = s.height * s.width, rows = s.batch * s.height;
  double* squares = new double[static_cast<size_t>(2 * rows + 1)];
  double* covered = squares + rows;
  parallel_for(rows, kRowsPerItem, threads, [&](int64_t begin, int64_t end) {
    BilinearRow<T> taps(s.width);
    T* residual = new T[static_cast<size_t>(2 * s.width)];
    T* weight = coverage ? residual + s.width : nullptr;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t b = item / s.height, i = item % s.height;
      const PixelMap map = pixel_map(theta + 6 * b, true, s.height, s.width, s.height, s.width);
      compute_taps(map, i, s.height, s.width, s.width, taps);
      covered[item] = coverage ? coverage_row(s, taps, weight) : static_cast<double>(s.width);
      squares[item] = 0;
      for (int64_t k = 0; k < s.channels; ++k) {
        const int64_t first = (b * s.channels + k) * plane;
        residual_row(maps + first + i * s.width, maps_warped + first, s, taps, weight, residual);
        squares[item] += sum_of_squares(residual, s.width);
      }
    }
    delete[] residual;
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
    T* residual = new T[static_cast<size_t>((kGroup + 1) * s.width)];
    T* weight = coverage ? residual + kGroup * s.width : nullptr;
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
          T* __restrict__ line = residual + k * s.width;
          residual_row(maps + at, maps_warped + start + k * plane, s, taps, weight, line);
          T* __restrict__ grad = grad_maps + at;
          for (int64_t j = 0; j < s.width; ++j) {
            line[j] *= -scale;  // the gradient of B'; that of A is its negative, times W
            grad[j] = -line[j] * (weight != nullptr ? weight[j] : T(1));
          }
        }
        scatter_row(residual, s.width, channels, s.width, taps, planes);
      }
      write_planes(planes, channels, grad_maps_warped + start);
    }
    delete[] residual;
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
