// Positions of a run of tile pixels on the CPU, and the loads of the taps around them.
//
// 1. positions and levels of a chunk   2. loads
#pragma once

#include <cstring>

#include "common/compute.h"
#include "common/simd.h"
#include "warp/e2p_sphere.h"

// Keeps the compiler from turning a loop of loads into gather instructions.
#define REFKP_SCALAR_LOOP asm volatile("")

namespace refkp {
namespace REFKP_ISA {
namespace {

constexpr int kChunk = 32;
constexpr int kChannels = 8;  // channels that share one computation of positions

// ---- 1. positions and levels of a chunk ----

template <class Real>
struct Chunk {
  alignas(64) int column[kChunk], row[kChunk];
  alignas(64) Real column_fraction[kChunk], row_fraction[kChunk];
};

// Centre of sample i of s in a pixel, relative to the pixel's centre.
inline double sample_offset(int64_t i, int64_t s) { return (i + 0.5) / s - 0.5; }

// Positions of kChunk pixels from (column, row) on, which count from the centre; what a row shares is formed in double.
template <class Real>
void locate_chunk(const Sphere<Real>& sphere, const double* rays, double column, double row, Chunk<Real>& chunk) {
  Real base[3], step[3];
  for (int i = 0; i < 3; ++i) {
    base[i] = static_cast<Real>(rays[3 * i + 1] * row + rays[3 * i + 2]);
    step[i] = static_cast<Real>(rays[3 * i]);
  }
  const Real first = static_cast<Real>(column);
  const Sphere<Real> local = sphere;
  for (int k = 0; k < kChunk; ++k) {
    const Real t = first + static_cast<Real>(k);
    const Position<Real> at = locate(local, base[0] + step[0] * t, base[1] + step[1] * t, base[2] + step[2] * t);
    chunk.column[k] = at.column;
    chunk.row[k] = at.row;
    chunk.column_fraction[k] = at.column_fraction;
    chunk.row_fraction[k] = at.row_fraction;
  }
}

template <class Real>
void coarsen_chunk(const Sphere<Real>& coarse, const Chunk<Real>& at, int level, Chunk<Real>& result) {
  const Sphere<Real> local = coarse;
  for (int k = 0; k < kChunk; ++k) {
    const Position<Real> there =
        coarsen(local, {at.column[k], at.row[k], at.column_fraction[k], at.row_fraction[k]}, level);
    result.column[k] = there.column;
    result.row[k] = there.row;
    result.column_fraction[k] = there.column_fraction;
    result.row_fraction[k] = there.row_fraction;
  }
}

// The levels of the samples of a chunk, and the range that has all the levels they lie between.
template <class Real>
struct Levels {
  alignas(64) Real of_sample[kChunk];
  int least, greatest;
};

template <class Real>
Levels<Real> find_levels(const Grid<Real>& grid, double column, double row) {
  Levels<Real> levels;
  const Grid<Real> local = grid;
  const Real start = static_cast<Real>(column), height = static_cast<Real>(row);
  for (int k = 0; k < kChunk; ++k)
    levels.of_sample[k] = sample_level(local, start + static_cast<Real>(k), height);
  int least = INT32_MAX, greatest = 0;  // of integers: the compiler keeps a minimum of floats out of vectors
  for (int k = 0; k < kChunk; ++k) {
    const int below = static_cast<int>(levels.of_sample[k]);
    const int above = below + (levels.of_sample[k] > static_cast<Real>(below) ? 1 : 0);
    least = below < least ? below : least;
    greatest = above > greatest ? above : greatest;
  }
  levels.least = least;
  levels.greatest = greatest;
  return levels;
}

template <class Real>
void level_shares(const Levels<Real>& levels, int level, Real* share) {
  for (int k = 0; k < kChunk; ++k) share[k] = level_share(levels.of_sample[k], level);
}

// Whether every pixel has its three neighbours right, below and across in the image without wrapping.
template <class Real>
bool is_interior(const Sphere<Real>& sphere, const Chunk<Real>& chunk) {
  int outside = 0;
  for (int k = 0; k < kChunk; ++k)
    outside |= (chunk.row[k] < 0) | (chunk.row[k] + 1 >= sphere.height) | (chunk.column[k] + 1 >= sphere.width);
  return outside == 0;
}

struct Offsets {
  alignas(64) int32_t tap[4][kChunk];  // of (row, column), (row, column + 1), (row + 1, column), (row + 1, column + 1)
};

template <class Real>
void tap_offsets(const Sphere<Real>& sphere, const Chunk<Real>& chunk, bool interior, Offsets& offsets) {
  const Sphere<Real> local = sphere;
  if (interior) {
    for (int k = 0; k < kChunk; ++k) {
      const int32_t first = chunk.row[k] * local.stride_row + chunk.column[k] * local.stride_column;
      offsets.tap[0][k] = first;
      offsets.tap[1][k] = first + local.stride_column;
      offsets.tap[2][k] = first + local.stride_row;
      offsets.tap[3][k] = first + local.stride_row + local.stride_column;
    }
    return;
  }
  for (int k = 0; k < kChunk; ++k) {
    offsets.tap[0][k] = tap_offset(local, chunk.row[k], chunk.column[k]);
    offsets.tap[1][k] = tap_offset(local, chunk.row[k], chunk.column[k] + 1);
    offsets.tap[2][k] = tap_offset(local, chunk.row[k] + 1, chunk.column[k]);
    offsets.tap[3][k] = tap_offset(local, chunk.row[k] + 1, chunk.column[k] + 1);
  }
}

template <class Real>
void nearest_offsets(const Sphere<Real>& sphere, const Chunk<Real>& chunk, int32_t* offset) {
  const Sphere<Real> local = sphere;
  for (int k = 0; k < kChunk; ++k) {
    const Position<Real> at = {chunk.column[k], chunk.row[k], chunk.column_fraction[k], chunk.row_fraction[k]};
    offset[k] = nearest_offset(local, at);
  }
}

// ---- 2. loads ----

// Words at single addresses go through memory into the vector loops: plain loads, two per cycle, outrun the gather
// instructions of current processors by far.
template <class Word, class T>
inline void load_words(const T* plane, const int32_t* offset, Word* word) {
  for (int k = 0; k < kChunk; ++k) {
    std::memcpy(word + k, plane + offset[k], sizeof(Word));
    REFKP_SCALAR_LOOP;
  }
}

template <class T, class Real>
void load(const T* plane, const int32_t* offset, Real* value) {
  alignas(64) T word[kChunk];
  load_words(plane, offset, word);
  for (int k = 0; k < kChunk; ++k) value[k] = static_cast<Real>(word[k]);
}

// A pixel and its right neighbour, adjacent in memory.
void load_pairs(const uint8_t* plane, const int32_t* offset, float* left, float* right) {
  alignas(64) uint16_t word[kChunk];
  load_words(plane, offset, word);
  for (int k = 0; k < kChunk; ++k) {
    left[k] = static_cast<float>(word[k] & 255);
    right[k] = static_cast<float>(word[k] >> 8);
  }
}

template <class Real>
void load_pairs(const Real* plane, const int32_t* offset, Real* left, Real* right) {
  struct Pair {
    Real left, right;
  };
  alignas(64) Pair pair[kChunk];
  load_words(plane, offset, pair);
  for (int k = 0; k < kChunk; ++k) {
    left[k] = pair[k].left;
    right[k] = pair[k].right;
  }
}

#ifdef REFKP_HAS_FLOAT_PAIRS
// In registers: a wide load of what single stores have just written waits for all of them.
inline void load_pairs(const float* plane, const int32_t* offset, float* left, float* right) {
  for (int k = 0; k < kChunk; k += kPairLanes) {
    FloatLanes lower, upper;
    gather_pairs(plane, offset + k, lower, upper);
    store_lanes(left + k, lower);
    store_lanes(right + k, upper);
  }
}
#endif

// All bytes of a pixel, and of its right neighbour `stride` <= 4 bytes on, from eight bytes.
void load_pixel_pairs(const uint8_t* image, const int32_t* offset, int64_t stride, uint32_t* left, uint32_t* right) {
  alignas(64) uint64_t word[kChunk];
  load_words(image, offset, word);
  for (int k = 0; k < kChunk; ++k) {
    left[k] = static_cast<uint32_t>(word[k]);
    right[k] = static_cast<uint32_t>(word[k] >> (8 * stride));
  }
}

}  // namespace
}  // namespace REFKP_ISA
}  // namespace refkp
