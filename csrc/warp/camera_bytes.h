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

namespace refkp {
namespace REFKP_ISA {
namespace {

constexpr int kByteChannels = 4;
constexpr float kOne = 16384;  // a weight of 1; the 64 taps of a cell sum up to less than 2^31

// Up to four channels of an image: side by side in at most four bytes a pixel, or in planes of pixels side by side.
struct Bytes {
  const uint8_t* data;
  int64_t readable;  // bytes from `data` on
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

// The eight bytes from `offset` on, or as many as may be read. kRoom: all eight may.
template <bool kRoom>
inline uint64_t load_eight(const Bytes& image, int32_t offset) {
  uint64_t word = 0;
  const int64_t left = image.readable - offset;
  if (kRoom || left >= 8) std::memcpy(&word, image.data + offset, 8);
  else std::memcpy(&word, image.data + offset, static_cast<size_t>(left));
  return word;
}

// A pixel and its right neighbour in planes: two bytes a channel.
inline uint64_t load_planes(const Bytes& image, int32_t offset) {
  uint64_t word = 0;
  for (int c = 0; c < image.channels; ++c) {
    uint16_t pair;
    std::memcpy(&pair, image.data + c * image.channel + offset, 2);
    word |= static_cast<uint64_t>(pair) << (16 * c);
  }
  return word;
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
  void add(uint64_t bytes, const uint32_t& weights) {
    const __m128i words = _mm_shuffle_epi8(_mm_cvtsi64_si128(static_cast<long long>(bytes)), pattern);
    int32_t pair;
    std::memcpy(&pair, &weights, sizeof(pair));
    sums = _mm_add_epi32(sums, _mm_madd_epi16(words, _mm_set1_epi32(pair)));
  }
  void store(int32_t* to) const { _mm_store_si128(reinterpret_cast<__m128i*>(to), sums); }
};

#else

struct ByteSums {
  int32_t sums[kByteChannels] = {};
  int left_step, right;
  ByteSums(int left_step_, int right_) : left_step(left_step_), right(right_) {}
  void add(uint64_t bytes, uint32_t weights) {
    for (int c = 0; c < kByteChannels; ++c)
      sums[c] += static_cast<int32_t>((weights & 65535) * (bytes >> (8 * c * left_step) & 255) +
                                      (weights >> 16) * (bytes >> (8 * (c * left_step + right) % 64) & 255));
  }
  void store(int32_t* to) const { std::memcpy(to, sums, sizeof(sums)); }
};

#endif

// Adds the taps of pixel k's cell to `sums` [4], and what of them lies inside the image to `weight`.
template <bool kPlanes, bool kInterior, bool kRoom>
void add_cell(const Bytes& image, const Raster<float>& raster, const Plan<float>& plan, const Cell<float>& cell, int k,
              float* sums, float& weight) {
  ByteSums total(kPlanes ? 2 : 1, kPlanes ? 1 : image.pixel);
  Weights weights;
  float inside = 0;
  for_each_row<kInterior>(raster, plan, cell, k, [&](const Taps<float>& taps, int count) {
    pack_weights(taps, weights);
    for (int j = 0; j < count; ++j) {
      const int32_t upper = taps.offset[j], lower = upper + image.row;
      total.add(kPlanes ? load_planes(image, upper) : load_eight<kRoom>(image, upper), weights.upper[j]);
      total.add(kPlanes ? load_planes(image, lower) : load_eight<kRoom>(image, lower), weights.lower[j]);
    }
    inside += kInterior ? static_cast<float>(count) : covered(taps, count);
  });
  alignas(16) int32_t whole[kByteChannels];
  total.store(whole);
  for (int c = 0; c < kByteChannels; ++c) sums[c] += static_cast<float>(whole[c]) * (1 / kOne);
  weight += inside;
}

template <bool kPlanes>
void add_cell(const Bytes& image, const Raster<float>& raster, const Plan<float>& plan, const Cell<float>& cell, int k,
              bool room, float* sums, float& weight) {
  if (cell.where[k] == kAboveLast && room) add_cell<kPlanes, true, true>(image, raster, plan, cell, k, sums, weight);
  else if (cell.where[k] >= kInside) add_cell<kPlanes, true, false>(image, raster, plan, cell, k, sums, weight);
  else add_cell<kPlanes, false, false>(image, raster, plan, cell, k, sums, weight);
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
