// Matrix products of one centred branch for vicreg_cpu.cpp: packed panels, and a register-tiled product over them.
//
// A matrix with `count` long rows is kept in panels of kWidth rows, each depth-major: [panel][depth][kWidth]. The same
// panels serve both operands of a product: one is read as whole vectors, the other broadcast element by element, and a
// product is written in panels again. So a Gram matrix needs one packed copy of its factor, and is itself an operand of
// the next product.
//
// kTileRows x kVectors vectors of accumulators fill the registers. The product is bound by the multiply-add units: per
// step of the depth, AVX-512 does 24 multiply-adds for 3 vector loads and 8 broadcasts. The depth is cut so that a
// panel of the vector operand (36 KiB) stays in the first-level cache; blocks of kBlock x kBlock keep both in the second.
#pragma once

#include <cstdint>
#include <new>
#include <utility>

#include "common/isa.h"

namespace refkp {
namespace REFKP_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64, kVectors = 3, kTileRows = 8;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32, kVectors = 3, kTileRows = 4;
#else
constexpr int kVectorBytes = 16, kVectors = 2, kTileRows = 4;
#endif
constexpr int64_t kBlock = 96;  // a multiple of every kWidth
constexpr int64_t kDepthBlock = 192;

template <class T>
struct Simd {
  static constexpr int kLanes = kVectorBytes / sizeof(T);
  typedef T Vector __attribute__((vector_size(kVectorBytes)));
  typedef T Unaligned __attribute__((vector_size(kVectorBytes), aligned(alignof(T)), may_alias));

  static Vector load(const T* from) { return *reinterpret_cast<const Unaligned*>(from); }
  static void store(T* to, Vector value) { *reinterpret_cast<Unaligned*>(to) = value; }
};

template <class T>
constexpr int64_t kWidth = kVectors * Simd<T>::kLanes;

struct Range {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
};

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
inline int64_t blocks_of(int64_t count, int64_t size) { return (count + size - 1) / size; }
inline int64_t round_up(int64_t count, int64_t size) { return blocks_of(count, size) * size; }
inline Range block_range(int64_t block, int64_t count) {
  return {block * kBlock, smaller((block + 1) * kBlock, count)};
}

// Zeroed, aligned scratch that only grows. Zeros, so that padding lanes hold plain numbers.
template <class T>
class Scratch {
 public:
  Scratch() = default;
  explicit Scratch(int64_t count) { reserve(count); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() { release(); }

  void reserve(int64_t count) {
    if (count <= capacity_) return;
    release();
    data_ = static_cast<T*>(::operator new(count * sizeof(T), std::align_val_t(64)));
    capacity_ = count;
    for (int64_t i = 0; i < count; ++i) data_[i] = T(0);
  }
  T* get() const { return data_; }

 private:
  void release() {
    ::operator delete(data_, std::align_val_t(64));
    data_ = nullptr;
    capacity_ = 0;
  }

  T* data_ = nullptr;
  int64_t capacity_ = 0;
};

template <class T>
struct Panels {
  T* data;
  int64_t depth;

  T* at(int64_t row, int64_t k) const { return data + (row / kWidth<T> * depth + k) * kWidth<T> + row % kWidth<T>; }
  static int64_t elements(int64_t count, int64_t depth) { return round_up(count, kWidth<T>) * depth; }
};

// ---- Packing ----------------------------------------------------------------------------------------------------

// Rows of the packed matrix are the columns `dims` of x [num_tokens, dim] minus their mean; the depth is the token.
template <class T>
void pack_dims(const T* x, int64_t num_tokens, int64_t dim, const T* mean, Range dims, Panels<T> out) {
  for (int64_t first = dims.begin; first < dims.end; first += kWidth<T>) {
    const int64_t count = smaller(kWidth<T>, dims.end - first);
    T* to = out.at(first - dims.begin, 0);
    for (int64_t token = 0; token < num_tokens; ++token, to += kWidth<T>) {
      const T* from = x + token * dim + first;
      for (int64_t d = 0; d < count; ++d) to[d] = from[d] - mean[first + d];
      for (int64_t d = count; d < kWidth<T>; ++d) to[d] = T(0);
    }
  }
}

// Interleaves the low (kHigh = 0) or high half of two vectors: a0 b0 a1 b1 ...
template <class T, int kHigh, int... kLane>
typename Simd<T>::Vector interleave(typename Simd<T>::Vector a, typename Simd<T>::Vector b,
                                    std::integer_sequence<int, kLane...>) {
  constexpr int kLanes = sizeof...(kLane);
  return __builtin_shufflevector(a, b, (kLane / 2 + kHigh * kLanes / 2 + kLane % 2 * kLanes)...);
}

// A perfect shuffle of the rows, repeated log2(lanes) times, is the transpose.
template <class T>
void transpose(typename Simd<T>::Vector (&rows)[Simd<T>::kLanes]) {
  constexpr int kLanes = Simd<T>::kLanes;
  constexpr auto kSequence = std::make_integer_sequence<int, kLanes>();
#pragma GCC unroll 4
  for (int stage = 1; stage < kLanes; stage *= 2) {
    typename Simd<T>::Vector next[kLanes];
#pragma GCC unroll 8
    for (int i = 0; i < kLanes / 2; ++i) {
      next[2 * i] = interleave<T, 0>(rows[i], rows[i + kLanes / 2], kSequence);
      next[2 * i + 1] = interleave<T, 1>(rows[i], rows[i + kLanes / 2], kSequence);
    }
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) rows[i] = next[i];
  }
}

// Rows of the packed matrix are the `tokens` of x [num_tokens, dim] minus the mean row; the depth is the dimension.
template <class T>
void pack_tokens(const T* x, int64_t dim, const T* mean, Range tokens, Panels<T> out) {
  constexpr int kLanes = Simd<T>::kLanes;
  for (int64_t token = tokens.begin; token < tokens.end; token += kLanes) {
    const int64_t num_rows = smaller(kLanes, tokens.end - token);
    for (int64_t d = 0; d < dim; d += kLanes) {
      const int64_t count = smaller(kLanes, dim - d);
      typename Simd<T>::Vector rows[kLanes] = {};
      for (int64_t r = 0; r < num_rows; ++r) {
        const T* from = x + (token + r) * dim + d;
        if (count == kLanes) {
          rows[r] = Simd<T>::load(from) - Simd<T>::load(mean + d);
        } else {
          for (int64_t lane = 0; lane < count; ++lane) rows[r][lane] = from[lane] - mean[d + lane];
        }
      }
      transpose<T>(rows);
      for (int64_t r = 0; r < count; ++r) Simd<T>::store(out.at(token - tokens.begin, d + r), rows[r]);
    }
  }
}

// ---- Product ----------------------------------------------------------------------------------------------------

// c [kTileRows][kWidth] (+)= a^T b over `depth` steps, the first kCols vectors of each row.
template <class T, int kCols>
void multiply_tile(const T* a, const T* b, int64_t depth, T* c, bool add) {
  constexpr int kLanes = Simd<T>::kLanes;
  typename Simd<T>::Vector sum[kTileRows][kCols];
#pragma GCC unroll 8
  for (int r = 0; r < kTileRows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < kCols; ++v) {
      sum[r][v] = add ? Simd<T>::load(c + r * kWidth<T> + v * kLanes) : typename Simd<T>::Vector{};
    }
  for (int64_t k = 0; k < depth; ++k, a += kWidth<T>, b += kWidth<T>) {
    typename Simd<T>::Vector column[kCols];
#pragma GCC unroll 4
    for (int v = 0; v < kCols; ++v) column[v] = Simd<T>::load(b + v * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < kTileRows; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < kCols; ++v) sum[r][v] += a[r] * column[v];
  }
#pragma GCC unroll 8
  for (int r = 0; r < kTileRows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < kCols; ++v) Simd<T>::store(c + r * kWidth<T> + v * kLanes, sum[r][v]);
}

// The product of rows `rows` of a with rows `cols` of b over the whole depth, into panels of c: column panel by column
// panel, `c_stride` elements apart, c the first. `lower` leaves out vectors that lie above the diagonal.
template <class T>
void multiply_block(Panels<T> a, Range rows, Panels<T> b, Range cols, int64_t depth, bool lower, T* c,
                    int64_t c_stride) {
  constexpr int64_t kLanes = Simd<T>::kLanes;
  for (int64_t k = 0; k < depth; k += kDepthBlock) {
    const int64_t steps = smaller(kDepthBlock, depth - k);
    for (int64_t j = cols.begin; j < cols.end; j += kWidth<T>) {
      T* panel = c + (j - cols.begin) / kWidth<T> * c_stride;
      for (int64_t i = rows.begin; i < rows.end; i += kTileRows) {
        const int64_t width = smaller(cols.end - j, lower ? i + kTileRows - j : kWidth<T>);
        if (width <= 0) continue;
        T* tile = panel + (i - rows.begin) * kWidth<T>;
        if (width > 2 * kLanes && kVectors > 2) {
          multiply_tile<T, kVectors>(a.at(i, k), b.at(j, k), steps, tile, k > 0);
        } else if (width > kLanes) {
          multiply_tile<T, 2>(a.at(i, k), b.at(j, k), steps, tile, k > 0);
        } else {
          multiply_tile<T, 1>(a.at(i, k), b.at(j, k), steps, tile, k > 0);
        }
      }
    }
  }
}

}  // namespace
}  // namespace REFKP_ISA
}  // namespace refkp
