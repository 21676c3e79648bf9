// The pyramid of e2p on the CPU: levels of half the rows and columns, and what their gradients add to the image.
//
// A level is made from the one before it, row by row. Both passes are bound by the memory of level 0.
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
  const auto mean = [&](int64_t left, int64_t right) {
    return Real(0.25) * ((static_cast<Real>(above[left]) + above[right]) + (static_cast<Real>(below[left]) + below[right]));
  };
  if (step == 1) {  // known to the compiler, which then has vectors
    for (int64_t k = 0; k < count; ++k) out[k] = mean(2 * k, 2 * k + 1);
  } else {
    for (int64_t k = 0; k < count; ++k) out[k] = mean(2 * k * step, (2 * k + 1) * step);
  }
}

constexpr int64_t kPixelBytes = 4;  // the most of interleaved bytes

// The same of interleaved bytes: sums of four neighbours at every byte run in vectors, though half are not needed, and
// leave one load for each result.
inline void halve_byte_row(const uint8_t* above, const uint8_t* below, int64_t step, int64_t channels, int64_t count,
                           float* out, int64_t stride_out) {
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

// Row `row` of all channels of an image of the level of geometry `coarse`, from the level before it.
template <class T, class Real>
void halve_rows(const E2pGeometry& fine, const T* from, const E2pGeometry& coarse, Real* to, int64_t image, int64_t row) {
  const T *above = from + image * fine.stride_image + 2 * row * fine.stride_row, *below = above + fine.stride_row;
  Real* out = to + image * coarse.stride_image + row * coarse.stride_row;
  if constexpr (sizeof(T) == 1) {
    const bool interleaved = fine.stride_channel == 1 && fine.num_channels <= fine.stride_column;
    if (interleaved && fine.stride_column <= kPixelBytes)
      return halve_byte_row(above, below, fine.stride_column, fine.num_channels, coarse.erp_width, out, coarse.stride_channel);
  }
  for (int64_t c = 0; c < fine.num_channels; ++c)
    halve_row(above + c * fine.stride_channel, below + c * fine.stride_channel, fine.stride_column, coarse.erp_width,
              out + c * coarse.stride_channel);
}

// The rows of the levels `first` to `last` that lie under row `row` of the last.
template <class T, class Real>
void halve_strip(const E2pGeometry& g, const T* erp, Real* pyramid, int64_t first, int64_t last, int64_t image, int64_t row) {
  for (int64_t level = first; level <= last; ++level) {
    const E2pGeometry fine = level_geometry(g, level - 1), coarse = level_geometry(g, level);
    const Real* from = pyramid + level_offset(g, level - 1);
    Real* to = pyramid + level_offset(g, level);
    for (int64_t r = row << (last - level); r < (row + 1) << (last - level); ++r) {
      if (level == 1) halve_rows(fine, erp, coarse, to, image, r);
      else halve_rows(fine, from, coarse, to, image, r);
    }
  }
}

constexpr int64_t kTogether = 3;  // levels that are made strip by strip: the rows just written are still in the cache

template <class T, class Real>
void fill_pyramid(const E2pGeometry& g, const T* erp, Real* pyramid, int threads) {
  prefer_huge_pages(pyramid, sizeof(Real) * level_offset(g, g.num_levels + 1));
  for (int64_t first = 1; first <= g.num_levels; first += kTogether) {
    const int64_t last = smaller(first + kTogether - 1, g.num_levels), rows = g.erp_height >> last;
    parallel_for(g.num_images * rows, 4, threads, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) halve_strip(g, erp, pyramid, first, last, i / rows, i % rows);
    });
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
