// Sums of bytes at the taps of camera_warp: up to four channels at once, weights of 14 bits, sums of 32.
//
// A tap is two loads of a pixel and its right neighbour, one above the other. With AVX2 one shuffle spreads each over a
// pair of words a channel, and one multiplication adds the pairs by their weights.
#pragma once

#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "warp/camera_chunk.h"

// Keeps the compiler from moving vectors to scalars in registers, which one port alone can do; two can load.
#define REFKP_THROUGH_MEMORY(a, b) asm volatile("" : : "r"(&(a)), "r"(&(b)) : "memory")

namespace refkp {
namespace REFKP_ISA {
namespace {

constexpr int kByteChannels = 4;
constexpr float kOne = 16384;  // a weight of 1; the 64 taps of a cell sum up to less than 2^31

// Up to four channels of an image: side by side in at most four bytes a pixel, or in planes of pixels side by side.
struct Bytes {
  const uint8_t* data;
  const uint8_t* end;  // of what may be read
  int32_t row;       // stride
  int pixel;         // bytes from a pixel to the next
  int64_t channel;   // stride of planes
  int channels;
};

// The weights of taps as pairs of words, left and right: those above, and those below.
struct Weights {
  alignas(64) uint32_t upper[kCellTaps], lower[kCellTaps];
};

inline uint32_t word_pair(float left, float right) {
  return static_cast<uint32_t>(static_cast<int32_t>(left * kOne + 0.5f) | static_cast<int32_t>(right * kOne + 0.5f) << 16);
}

inline void pack_weights(const Taps<float>& taps, Weights& weights) {
  for (int j = 0; j < kCellTaps; ++j) {
    weights.upper[j] = word_pair(taps.weight[0][j], taps.weight[1][j]);
    weights.lower[j] = word_pair(taps.weight[2][j], taps.weight[3][j]);
  }
}

// Eight bytes, or as many as there are before `end`. kRoom: all eight may be read.
template <bool kRoom>
inline uint64_t load_eight(const uint8_t* from, const uint8_t* end) {
  uint64_t word = 0;
  if (kRoom || end - from >= 8) std::memcpy(&word, from, 8);
  else std::memcpy(&word, from, static_cast<size_t>(end - from));
  return word;
}

// A pixel and its right neighbour in planes: two bytes a channel.
inline uint64_t load_planes(const uint8_t* from, int64_t channel, int channels) {
  uint64_t word = 0;
  for (int c = 0; c < channels; ++c) {
    uint16_t pair;
    std::memcpy(&pair, from + c * channel, 2);
    word |= static_cast<uint64_t>(pair) << (16 * c);
  }
  return word;
}

template <bool kPlanes, bool kRoom>
inline uint64_t load_pair(const Bytes& image, const uint8_t* from) {
  return kPlanes ? load_planes(from, image.channel, image.channels) : load_eight<kRoom>(from, image.end);
}

#if defined(__AVX2__)

// Sums of the four channels, and where the two bytes of each are among the eight of a load.
struct ByteSums {
  __m128i sums, pattern;
  ByteSums(int left_step, int right) : sums(_mm_setzero_si128()) {
    alignas(16) int8_t from[16];
    for (int i = 0; i < 16; ++i) from[i] = -1;  // zero: the upper half of a word
    for (int c = 0; c < kByteChannels; ++c) {
      from[4 * c] = static_cast<int8_t>(c * left_step);
      from[4 * c + 2] = static_cast<int8_t>(c * left_step + right);
    }
    pattern = _mm_load_si128(reinterpret_cast<const __m128i*>(from));
  }
  void add(uint64_t bytes, const uint32_t* weights) {
    const __m128i words = _mm_shuffle_epi8(_mm_cvtsi64_si128(static_cast<long long>(bytes)), pattern);
    const __m128i pairs = _mm_castps_si128(_mm_broadcast_ss(reinterpret_cast<const float*>(weights)));
    sums = _mm_add_epi32(sums, _mm_madd_epi16(words, pairs));
  }
  void store(int32_t* to) const { _mm_store_si128(reinterpret_cast<__m128i*>(to), sums); }
};

// A row of taps whose neighbours are all inside the image, eight at once.
struct InnerRow {
  __m256 step_x, step_y;  // of the taps along the row
  __m256i pixel, row;
  InnerRow(const Raster<float>& raster, const Cell<float>& cell, int k, const float* across)
      : step_x(_mm256_mul_ps(_mm256_set1_ps(cell.xc[k]), _mm256_load_ps(across))),
        step_y(_mm256_mul_ps(_mm256_set1_ps(cell.yc[k]), _mm256_load_ps(across))),
        pixel(_mm256_set1_epi32(raster.stride_column)),
        row(_mm256_set1_epi32(raster.stride_row)) {}

  // Offsets and weights of the taps of the row that is centred at (x, y).
  void place(float x, float y, int32_t* offset, Weights& weights) const {
    const __m256 one = _mm256_set1_ps(kOne);
    const __m256 at_x = _mm256_add_ps(_mm256_set1_ps(x), step_x), at_y = _mm256_add_ps(_mm256_set1_ps(y), step_y);
    const __m256i left = _mm256_cvttps_epi32(at_x), top = _mm256_cvttps_epi32(at_y);
    const __m256i right = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_sub_ps(at_x, _mm256_cvtepi32_ps(left)), one));
    const __m256i below = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_sub_ps(at_y, _mm256_cvtepi32_ps(top)), one));
    // The four weights sum up to kOne whatever is rounded.
    const __m256i half = _mm256_set1_epi32(1 << 13), whole = _mm256_set1_epi32(1 << 14);
    const __m256i lower_right = _mm256_srli_epi32(_mm256_add_epi32(_mm256_madd_epi16(right, below), half), 14);
    const __m256i upper_right = _mm256_sub_epi32(right, lower_right), lower_left = _mm256_sub_epi32(below, lower_right);
    const __m256i upper_left = _mm256_sub_epi32(_mm256_sub_epi32(whole, right), lower_left);
    store(weights.upper, _mm256_add_epi32(upper_left, _mm256_slli_epi32(upper_right, 16)));
    store(weights.lower, _mm256_add_epi32(lower_left, _mm256_slli_epi32(lower_right, 16)));
    store(offset, _mm256_add_epi32(_mm256_mullo_epi32(left, pixel), _mm256_mullo_epi32(top, row)));
  }
  template <class Word>
  static void store(Word* to, __m256i value) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(to), value);
  }
};

#else

struct ByteSums {
  int32_t sums[kByteChannels] = {};
  int left_step, right;
  ByteSums(int left_step_, int right_) : left_step(left_step_), right(right_) {}
  void add(uint64_t bytes, const uint32_t* weights) {
    for (int c = 0; c < kByteChannels; ++c)
      sums[c] += static_cast<int32_t>((*weights & 65535) * (bytes >> (8 * c * left_step) & 255) +
                                      (*weights >> 16) * (bytes >> (8 * (c * left_step + right) % 64) & 255));
  }
  void store(int32_t* to) const { std::memcpy(to, sums, sizeof(sums)); }
};

struct InnerRow {
  const Raster<float>& raster;
  const Cell<float>& cell;
  int k;
  const float* across;
  InnerRow(const Raster<float>& raster_, const Cell<float>& cell_, int k_, const float* across_)
      : raster(raster_), cell(cell_), k(k_), across(across_) {}
  void place(float x, float y, int32_t* offset, Weights& weights) const {
    Taps<float> taps;
    make_taps<true>(raster, x, y, cell.xc[k], cell.yc[k], across, taps);
    pack_weights(taps, weights);
    std::memcpy(offset, taps.offset, sizeof(taps.offset));
  }
};

#endif

template <bool kPlanes, bool kRoom>
inline void add_tap(const Bytes& image, int32_t offset, const uint32_t* upper, const uint32_t* lower, ByteSums& total) {
  const uint8_t* at = image.data + offset;
  total.add(load_pair<kPlanes, kRoom>(image, at), upper);
  total.add(load_pair<kPlanes, kRoom>(image, at + image.row), lower);
}

template <bool kPlanes, bool kRoom>
inline void add_taps(const Bytes& image, const int32_t* offset, const Weights& weights, int count, ByteSums& total) {
  REFKP_THROUGH_MEMORY(*offset, weights);
  if (count == 1) return add_tap<kPlanes, kRoom>(image, offset[0], weights.upper, weights.lower, total);
  for (int first = 0; first < count; first += 4)  // by fours, which the compiler writes out
    for (int j = first; j < first + 4; ++j)
      add_tap<kPlanes, kRoom>(image, offset[j], weights.upper + j, weights.lower + j, total);
}

// Adds the taps of pixel k's cell, and returns how many.
template <bool kPlanes, bool kRoom>
float add_inner_cell(const Bytes& image, const Raster<float>& raster, const Plan<float>& plan, const Cell<float>& cell, int k,
                     ByteSums& total) {
  const float *across = tap_places(plan.taps_x[k]), *down = tap_places(plan.taps_y[k]);
  const int columns = static_cast<int>(plan.taps_x[k]), rows = static_cast<int>(plan.taps_y[k]);
  const InnerRow row(raster, cell, k, across);
  alignas(64) int32_t offset[kCellTaps];
  Weights weights;
  for (int i = 0; i < rows; ++i) {
    row.place(cell.x[k] + cell.xr[k] * down[i], cell.y[k] + cell.yr[k] * down[i], offset, weights);
    add_taps<kPlanes, kRoom>(image, offset, weights, columns, total);
  }
  return plan.taps_x[k] * plan.taps_y[k];
}

// The same at the border; returns what of the taps lies inside the image.
template <bool kPlanes>
float add_border_cell(const Bytes& image, const Raster<float>& raster, const Plan<float>& plan, const Cell<float>& cell, int k,
                      ByteSums& total) {
  float inside = 0;
  Weights weights;
  for_each_row<false>(raster, plan, cell, k, [&](const Taps<float>& taps, int count) {
    pack_weights(taps, weights);
    add_taps<kPlanes, false>(image, taps.offset, weights, count, total);
    inside += covered(taps, count);
  });
  return inside;
}

// Adds the taps of pixel k's cell to `sums` [4], and what of them lies inside the image to `weight`.
template <bool kPlanes>
void add_cell(const Bytes& image, const Raster<float>& raster, const Plan<float>& plan, const Cell<float>& cell, int k,
              bool room, float* sums, float& weight) {
  ByteSums total(kPlanes ? 2 : 1, kPlanes ? 1 : image.pixel);
  if (cell.where[k] == kBorder) weight += add_border_cell<kPlanes>(image, raster, plan, cell, k, total);
  else if (cell.where[k] == kAboveLast && room) weight += add_inner_cell<kPlanes, true>(image, raster, plan, cell, k, total);
  else weight += add_inner_cell<kPlanes, false>(image, raster, plan, cell, k, total);
  alignas(16) int32_t whole[kByteChannels];
  total.store(whole);
  for (int c = 0; c < kByteChannels; ++c) sums[c] += static_cast<float>(whole[c]) * (1 / kOne);
}

inline bool is_interleaved(const CameraWarpProblem& p) {
  return p.stride_channel == 1 && p.channels <= p.stride_column && p.stride_column <= kByteChannels;
}

inline bool is_planar(const CameraWarpProblem& p) { return p.stride_column == 1; }

// Whether eight bytes may be read from any pixel whose lower neighbour is above the last row.
inline bool has_room(const CameraWarpProblem& p) { return p.stride_row + p.stride_column + p.channels >= 8; }

}  // namespace
}  // namespace REFKP_ISA
}  // namespace refkp
