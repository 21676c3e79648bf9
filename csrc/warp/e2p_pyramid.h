// The pyramid of e2p on the CPU: levels of half the rows and columns, and what their gradients add to the image.
//
// A level is made from the one before it, row by row; both passes are bound by the memory of level 0.
#pragma once

#include "common/huge_pages.h"
#include "common/parallel.h"
#include "warp/e2p_sphere.h"

namespace refkp {
namespace REFKP_ISA {
namespace {

// Means of 2 x 2 pixels, whose neighbours in a row lie `step` elements apart.
template <class T, class Real>
void halve_row(const T* above, const T* below, int64_t step, int64_t count, Real* out) {
  if (step == 1) {
    for (int64_t k = 0; k < count; ++k)
      out[k] = Real(0.25) * ((static_cast<Real>(above[2 * k]) + above[2 * k + 1]) + (static_cast<Real>(below[2 * k]) + below[2 * k + 1]));
    return;
  }
  for (int64_t k = 0; k < count; ++k) {
    const int64_t left = 2 * k * step, right = left + step;
    out[k] = Real(0.25) * ((static_cast<Real>(above[left]) + above[right]) + (static_cast<Real>(below[left]) + below[right]));
  }
}

constexpr int64_t kPixelBytes = 4;  // the most of interleaved bytes

// The same of interleaved bytes: sums of four neighbours at every byte run in vectors, though half are not needed, and
// leave one load for each result.
inline void halve_byte_row(const uint8_t* above, const uint8_t* below, int64_t step, int64_t channels, int64_t count, float* out,
                           int64_t stride_out) {
  constexpr int64_t kBlock = 128;
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t block = count - begin < kBlock ? count - begin : kBlock;
    const uint8_t *upper = above + 2 * begin * step, *lower = below + 2 * begin * step;
    uint16_t sum[2 * kBlock * kPixelBytes];
    for (int64_t j = 0; j < 2 * (block - 1) * step + channels; ++j)
      sum[j] = static_cast<uint16_t>(upper[j] + upper[j + step] + lower[j] + lower[j + step]);
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t k = 0; k < block; ++k) out[c * stride_out + begin + k] = 0.25f * sum[2 * k * step + c];
  }
}

inline void halve_bytes(const E2pGeometry& fine, const uint8_t* from, const E2pGeometry& coarse, float* to, int threads) {
  const int64_t rows = coarse.erp_height;
  parallel_for(coarse.num_images * rows, 16, threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const uint8_t* above = from + i / rows * fine.stride_image + 2 * (i % rows) * fine.stride_row;
      float* out = to + i / rows * coarse.stride_image + i % rows * coarse.stride_row;
      halve_byte_row(above, above + fine.stride_row, fine.stride_column, fine.num_channels, coarse.erp_width, out,
                     coarse.stride_channel);
    }
  });
}

// The level of geometry `coarse` from the one before it, of geometry `fine`.
template <class T, class Real>
void halve(const E2pGeometry& fine, const T* from, const E2pGeometry& coarse, Real* to, int threads) {
  if constexpr (sizeof(T) == 1) {
    const bool interleaved = fine.stride_channel == 1 && fine.num_channels <= fine.stride_column;
    if (interleaved && fine.stride_column <= kPixelBytes) return halve_bytes(fine, from, coarse, to, threads);
  }
  const int64_t rows = coarse.erp_height, planes = coarse.num_images * coarse.num_channels;
  parallel_for(planes * rows, 16, threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t plane = i / rows, row = i % rows;
      const T* above = from + plane / fine.num_channels * fine.stride_image + plane % fine.num_channels * fine.stride_channel +
                       2 * row * fine.stride_row;
      halve_row(above, above + fine.stride_row, fine.stride_column, coarse.erp_width, to + i * coarse.erp_width);
    }
  });
}

template <class T, class Real>
void fill_pyramid(const E2pGeometry& g, const T* erp, Real* pyramid, int threads) {
  prefer_huge_pages(pyramid, sizeof(Real) * level_offset(g, g.num_levels + 1));
  for (int64_t level = 1; level <= g.num_levels; ++level) {
    const E2pGeometry coarse = level_geometry(g, level);
    Real* to = pyramid + level_offset(g, level);
    if (level == 1) halve(g, erp, coarse, to, threads);
    else halve(level_geometry(g, level - 1), pyramid + level_offset(g, level - 1), coarse, to, threads);
  }
}

// Adds a quarter of each pixel of `coarse` to the four pixels of contiguous `fine` that it covers.
template <class Real>
void add_halved(const E2pGeometry& coarse, const Real* from, Real* to, int threads) {
  const int64_t rows = 2 * coarse.num_images * coarse.num_channels * coarse.erp_height, width = coarse.erp_width;
  parallel_for(rows, 16, threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Real* part = from + i / 2 * width;
      Real* sum = to + i * 2 * width;
      for (int64_t k = 0; k < width; ++k) {
        sum[2 * k] += Real(0.25) * part[k];
        sum[2 * k + 1] += Real(0.25) * part[k];
      }
    }
  });
}

// Takes the gradients of all levels down to the image, coarse to fine.
template <class Real>
void fold_pyramid(const E2pGeometry& g, Real* grad_pyramid, Real* grad_erp, int threads) {
  for (int64_t level = g.num_levels; level >= 1; --level)
    add_halved(level_geometry(g, level), grad_pyramid + level_offset(g, level),
               level == 1 ? grad_erp : grad_pyramid + level_offset(g, level - 1), threads);
}

}  // namespace
}  // namespace REFKP_ISA
}  // namespace refkp
