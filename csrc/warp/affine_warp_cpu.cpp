// affine_warp on the CPU.
//
// Forward: items are (image, block of output rows). The taps of a row depend only on theta, so they are computed once and
// serve all channels; rows are then bound by the four loads a pixel and channel.
// Backward: items are (image, group of channels), because one thread alone scatters into a plane of grad_image. The
// gradient of theta sums rows in double, in a fixed order.
#include "warp/affine_warp.h"

#include "common/huge_pages.h"
#include "common/parallel.h"
#include "warp/bilinear_row.h"

namespace refkp {
namespace REFKP_ISA {
namespace {

constexpr int64_t kRowsPerItem = 16;

template <typename T>
void forward(const T* image, const double* theta, bool inverse, const double* fill, const AffineWarpShape& s, T* out,
             int threads) {
  const int64_t blocks = (s.out_height + kRowsPerItem - 1) / kRowsPerItem;
  const int64_t in_plane = s.in_height * s.in_width, out_plane = s.out_height * s.out_width;
  prefer_huge_pages(out, sizeof(T) * static_cast<size_t>(s.batch * s.channels * out_plane));
  parallel_for(s.batch * blocks, 1, threads, [&](int64_t begin, int64_t end) {
    BilinearRow<T> taps(s.out_width);
    for (int64_t item = begin; item < end; ++item) {
      const int64_t b = item / blocks, first = (item % blocks) * kRowsPerItem;
      const int64_t last = first + kRowsPerItem < s.out_height ? first + kRowsPerItem : s.out_height;
      const PixelMap map = pixel_map(theta + 6 * b, inverse, s.in_height, s.in_width, s.out_height, s.out_width);
      for (int64_t i = first; i < last; ++i) {
        compute_taps(map, i, s.in_height, s.in_width, s.out_width, taps);
        for (int64_t c = 0; c < s.channels; ++c) {
          const int64_t bc = b * s.channels + c;
          sample_row(image + bc * in_plane, s.in_height, s.in_width, s.out_width, taps,
                     fill ? static_cast<T>(fill[c]) : T(0), out + bc * out_plane + i * s.out_width);
        }
      }
    }
  });
}

template <typename T>
void backward_image(const T* grad_out, const double* theta, bool inverse, const AffineWarpShape& s, T* grad_image,
                    int threads) {
  const int64_t groups = (s.channels + kGroup - 1) / kGroup;
  const int64_t in_plane = s.in_height * s.in_width, out_plane = s.out_height * s.out_width;
  prefer_huge_pages(grad_image, sizeof(T) * static_cast<size_t>(s.batch * s.channels * in_plane));
  parallel_for(s.batch * groups, 1, threads, [&](int64_t begin, int64_t end) {
    BilinearRow<T> taps(s.out_width);
    InterleavedPlanes<T> planes(s.in_height, s.in_width, s.out_width);
    for (int64_t item = begin; item < end; ++item) {
      const int64_t b = item / groups, first = (item % groups) * kGroup, rest = s.channels - first;
      const int64_t channels = rest < kGroup ? rest : kGroup, bc = b * s.channels + first;
      const PixelMap map = pixel_map(theta + 6 * b, inverse, s.in_height, s.in_width, s.out_height, s.out_width);
      planes.clear();
      for (int64_t i = 0; i < s.out_height; ++i) {
        compute_taps(map, i, s.in_height, s.in_width, s.out_width, taps);
        scatter_row(grad_out + bc * out_plane + i * s.out_width, out_plane, channels, s.out_width, taps, planes);
      }
      write_planes(planes, channels, grad_image + bc * in_plane);
    }
  });
}

// Adds dL/d(px, py) of one row and channel to grad_x, grad_y [out_width].
template <typename T>
void position_gradient_row(const T* grad_out, const T* plane, T fill, const AffineWarpShape& s,
                           const BilinearRow<T>& taps, T* __restrict__ grad_x, T* __restrict__ grad_y) {
  const auto border = [&](int64_t begin, int64_t end) {
    for (int64_t j = begin; j < end; ++j) {
      BorderTaps<T> t = border_taps(taps, j, plane, s.in_height, s.in_width);
      for (int k = 0; k < 4; ++k)
        if (t.index[k] < 0) t.value[k] = fill;  // blending with the fill is interpolation towards it
      const T wx = taps.wx[j], wy = taps.wy[j];
      grad_x[j] += grad_out[j] * ((1 - wy) * (t.value[1] - t.value[0]) + wy * (t.value[3] - t.value[2]));
      grad_y[j] += grad_out[j] * ((1 - wx) * (t.value[2] - t.value[0]) + wx * (t.value[3] - t.value[1]));
    }
  };
  border(taps.begin, taps.inner_begin);
  int64_t j = taps.inner_begin;
#ifdef REFKP_HAS_FLOAT_PAIRS
  if constexpr (sizeof(T) == sizeof(float)) {
    for (; j + kPairLanes <= taps.inner_end; j += kPairLanes) {
      const SquareLanes v = fetch_square_lanes(plane, s.in_width, taps, j);
      const FloatLanes wx = load_lanes(taps.wx + j), g = load_lanes(grad_out + j);
      const FloatLanes slope_x = lerp_lanes(subtract_lanes(v.upper_right, v.upper_left),
                                            subtract_lanes(v.lower_right, v.lower_left), load_lanes(taps.wy + j));
      const FloatLanes slope_y =
          subtract_lanes(lerp_lanes(v.lower_left, v.lower_right, wx), lerp_lanes(v.upper_left, v.upper_right, wx));
      store_lanes(grad_x + j, fma_lanes(g, slope_x, load_lanes(grad_x + j)));
      store_lanes(grad_y + j, fma_lanes(g, slope_y, load_lanes(grad_y + j)));
    }
  }
#endif
  for (; j < taps.inner_end; ++j) {
    const Square<T> v = fetch_square(plane, s.in_width, taps.offset[j]);
    const T wx = taps.wx[j], wy = taps.wy[j];
    grad_x[j] += grad_out[j] * ((1 - wy) * (v.upper_right - v.upper_left) + wy * (v.lower_right - v.lower_left));
    grad_y[j] += grad_out[j] * ((1 - wx) * (v.lower_left - v.upper_left) + wx * (v.lower_right - v.upper_right));
  }
  border(taps.inner_end, taps.end);
}

template <typename T>
void backward_theta(const T* grad_out, const T* image, const double* theta, bool inverse, const double* fill,
                    const AffineWarpShape& s, double* grad_theta, int threads) {
  const int64_t in_plane = s.in_height * s.in_width, out_plane = s.out_height * s.out_width;
  double* row_sums = new double[static_cast<size_t>(s.batch * s.out_height * 6)];
  parallel_for(s.batch * s.out_height, kRowsPerItem, threads, [&](int64_t begin, int64_t end) {
    BilinearRow<T> taps(s.out_width);
    T* grad_x = new T[static_cast<size_t>(2 * s.out_width)];
    T* grad_y = grad_x + s.out_width;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t b = item / s.out_height, i = item % s.out_height;
      const PixelMap map = pixel_map(theta + 6 * b, inverse, s.in_height, s.in_width, s.out_height, s.out_width);
      compute_taps(map, i, s.in_height, s.in_width, s.out_width, taps);
      std::memset(grad_x, 0, sizeof(T) * static_cast<size_t>(2 * s.out_width));
      for (int64_t c = 0; c < s.channels; ++c) {
        const int64_t bc = b * s.channels + c;
        position_gradient_row(grad_out + bc * out_plane + i * s.out_width, image + bc * in_plane,
                              fill ? static_cast<T>(fill[c]) : T(0), s, taps, grad_x, grad_y);
      }
      double sum_x = 0, sum_y = 0, sum_xx = 0, sum_yx = 0;  // moments with x = (2j+1)/w - 1
      for (int64_t j = 0; j < s.out_width; ++j) {
        const double x = static_cast<double>(2 * j + 1) / static_cast<double>(s.out_width) - 1;
        sum_x += grad_x[j];
        sum_y += grad_y[j];
        sum_xx += grad_x[j] * x;
        sum_yx += grad_y[j] * x;
      }
      const double y = static_cast<double>(2 * i + 1) / static_cast<double>(s.out_height) - 1;
      double* sums = row_sums + 6 * item;
      sums[0] = sum_xx, sums[1] = sum_x * y, sums[2] = sum_x;
      sums[3] = sum_yx, sums[4] = sum_y * y, sums[5] = sum_y;
    }
    delete[] grad_x;
  });
  for (int64_t b = 0; b < s.batch; ++b) {
    double sums[6] = {0, 0, 0, 0, 0, 0};
    for (int64_t i = 0; i < s.out_height; ++i)
      for (int k = 0; k < 6; ++k) sums[k] += row_sums[(b * s.out_height + i) * 6 + k];
    theta_gradient(theta + 6 * b, inverse, sums, s.in_height, s.in_width, grad_theta + 6 * b);
  }
  delete[] row_sums;
}

template <typename T>
void backward(const void* grad_out, const void* image, const double* theta, bool inverse, const double* fill,
              const AffineWarpShape& s, void* grad_image, double* grad_theta, int threads) {
  const T* g = static_cast<const T*>(grad_out);
  if (grad_image != nullptr) backward_image(g, theta, inverse, s, static_cast<T*>(grad_image), threads);
  if (grad_theta != nullptr)
    backward_theta(g, static_cast<const T*>(image), theta, inverse, fill, s, grad_theta, threads);
}

}  // namespace

void affine_warp(DType dtype, const void* image, const double* theta, bool inverse, const double* fill,
                 const AffineWarpShape& shape, void* out, int threads) {
  if (dtype == DType::float64)
    forward(static_cast<const double*>(image), theta, inverse, fill, shape, static_cast<double*>(out), threads);
  else
    forward(static_cast<const float*>(image), theta, inverse, fill, shape, static_cast<float*>(out), threads);
}

void affine_warp_backward(DType dtype, const void* grad_out, const void* image, const double* theta, bool inverse,
                          const double* fill, const AffineWarpShape& shape, void* grad_image, double* grad_theta,
                          int threads) {
  if (dtype == DType::float64)
    backward<double>(grad_out, image, theta, inverse, fill, shape, grad_image, grad_theta, threads);
  else
    backward<float>(grad_out, image, theta, inverse, fill, shape, grad_image, grad_theta, threads);
}

}  // namespace REFKP_ISA
}  // namespace refkp
