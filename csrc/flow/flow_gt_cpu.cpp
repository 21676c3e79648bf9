// flow_gt on the CPU: one pass over the source rows of every pair.
//
// A work item is one row of one (source, target) pair, done in chunks of kChunk pixels that stay in the L1 cache. Each
// stage is one plain loop over the chunk, which the compiler vectorises for its instruction set; the target depth is read
// two neighbours at a time (common/simd.h). Memory moves 13 bytes per pixel (float32): on warm memory arithmetic and
// reads bound the pass, on a fresh result its page faults do.
#include "flow/flow_gt.h"

#include <cfloat>
#include <cmath>
#include <type_traits>

#include "common/huge_pages.h"
#include "common/parallel.h"
#include "common/simd.h"
#include "flow/fold.h"

namespace refkp {
namespace REFKP_ISA {
namespace {

constexpr int kChunk = 256;
constexpr int64_t kRowsPerBlock = 16;

template <typename T> constexpr T largest = std::is_same<T, float>::value ? FLT_MAX : DBL_MAX;

// The target image of one pair.
template <typename T>
struct Target {
  const T* depth;
  const uint8_t* mask;  // or null
  int32_t height, width;
  FlowRule rule;
  T tol_abs, tol_slope;
};

// What the stages hand on; integers as wide as T, so that both fill the same vector lanes.
template <typename T>
struct Chunk {
  using Int = typename std::conditional<sizeof(T) == 4, int32_t, int64_t>::type;
  int n;
  alignas(64) T u[kChunk], v[kChunk], z[kChunk];
  alignas(64) Int flags[kChunk];
  alignas(64) Int column[kChunk], row[kChunk];   // the landing pixel; 0 where not inside
  alignas(64) Int left[kChunk], top[kChunk];     // the first of the four pixels around (u, v)
  alignas(64) Int upper[kChunk], lower[kChunk];  // where pairs of the target depth are read
  alignas(64) T sample[4][kChunk];
};

template <typename T>
typename Chunk<T>::Int is_depth(T d) {
  using Int = typename Chunk<T>::Int;
  return Int(d > 0) & Int(d <= largest<T>);
}

// One source row: depth and mask from its first pixel, and the affine map with its row constant folded in.
template <typename T>
struct Row {
  const T* depth;
  const uint8_t* mask;  // or null
  T slope[3], base[3], shift[3];  // (U, V, Z) = z (slope x + base) + shift
  T offset, z_shift;
};

template <typename T>
Row<T> make_row(const FlowProblem& p, const PairMap& pair, int64_t b, int64_t y) {
  Row<T> row;
  row.depth = static_cast<const T*>(p.src.depth) + b * p.src.depth_stride_b + y * p.src.width;
  row.mask = p.src.mask ? p.src.mask + b * p.src.mask_stride_b + y * p.src.width : nullptr;
  for (int k = 0; k < 3; ++k) {
    const double* m = pair.map + k * 4;
    row.slope[k] = static_cast<T>(m[0]);
    row.base[k] = static_cast<T>(m[1] * (y + p.pixel_offset) + m[2]);
    row.shift[k] = static_cast<T>(m[3]);
  }
  row.offset = static_cast<T>(p.pixel_offset);
  row.z_shift = p.rule == FlowRule::bilinear_relative ? static_cast<T>(flow_relative_z_shift) : T(0);
  return row;
}

// Stage 1: project. Returns whether any pixel is in front of the target camera.
template <typename T>
bool project(const Row<T>& row, int x0, Chunk<T>& c) {
  using Int = typename Chunk<T>::Int;
  const T* depth = row.depth + x0;
  if (row.mask != nullptr) {
    for (int i = 0; i < c.n; ++i) c.sample[0][i] = row.mask[x0 + i] ? depth[i] : T(0);
    depth = c.sample[0];
  }
  Int any = 0;
  for (int i = 0; i < c.n; ++i) {
    const T d = depth[i];
    const T x = static_cast<T>(x0 + i) + row.offset;
    const T U = d * (row.slope[0] * x + row.base[0]) + row.shift[0];
    const T V = d * (row.slope[1] * x + row.base[1]) + row.shift[1];
    const T Z = d * (row.slope[2] * x + row.base[2]) + row.shift[2];
    const Int valid = is_depth(d);
    Int front = valid & Int(Z > static_cast<T>(flow_z_near));
    const T reciprocal = T(1) / ((front ? Z : T(1)) + row.z_shift);
    const T u = U * reciprocal;
    const T v = V * reciprocal;
    front &= Int(std::abs(u) <= largest<T>) & Int(std::abs(v) <= largest<T>);
    c.u[i] = front ? u : T(0);
    c.v[i] = front ? v : T(0);
    c.z[i] = Z;
    c.flags[i] = valid * flow_source_valid + front * flow_in_front;
    any |= front;
  }
  return any != 0;
}

// Stage 2: the landing pixel, the corner of the four pixels around, and the inside test; bilinear_relative asks for
// 0 < x < width - 1 `strictly`. Returns whether any is inside.
template <bool strictly, typename T>
bool land(const Target<T>& target, T offset, Chunk<T>& c) {
  using Int = typename Chunk<T>::Int;
  const T to_edge = T(0.5) - offset;  // edge coordinates: pixel k covers [k, k + 1)
  const T width = static_cast<T>(target.width), height = static_cast<T>(target.height);
  Int any = 0;
  for (int i = 0; i < c.n; ++i) {
    const T x = c.u[i] + to_edge, y = c.v[i] + to_edge;
    const Int within = strictly ? Int(x > 0) & Int(x < width - 1) & Int(y > 0) & Int(y < height - 1)
                                : Int(x >= 0) & Int(x < width) & Int(y >= 0) & Int(y < height);
    const Int inside = within & (c.flags[i] >> 1);
    const Int column = static_cast<Int>(inside ? x : T(0)), row = static_cast<Int>(inside ? y : T(0));
    c.column[i] = column;
    c.row[i] = row;
    c.left[i] = column - Int(x - T(0.5) < static_cast<T>(column));
    c.top[i] = row - Int(y - T(0.5) < static_cast<T>(row));
    c.flags[i] += inside * flow_inside;
    any |= inside;
  }
  return any != 0;
}

// left[i] = depth[at[i]] and right[i] = depth[at[i] + step]; step is 0 for an image of one column, else 1.
template <typename T, typename Int>
void read_pairs(const T* depth, const Int* at, Int step, int n, T* left, T* right) {
  int i = 0;
#if defined(REFKP_HAS_FLOAT_PAIRS)
  if constexpr (std::is_same<T, float>::value) {
    for (; step == 1 && i + kPairLanes <= n; i += kPairLanes) {
      FloatLanes first, second;
      gather_pairs(depth, at + i, first, second);
      store_lanes(left + i, first);
      store_lanes(right + i, second);
    }
  }
#endif
  for (; i < n; ++i) {
    left[i] = depth[at[i]];
    right[i] = depth[at[i] + step];
  }
}

// Stage 3, nearest and nearest_twosided: the landing pixel decides.
template <typename T>
void judge_nearest(const Target<T>& target, Chunk<T>& c) {
  using Int = typename Chunk<T>::Int;
  const bool two_sided = target.rule == FlowRule::nearest_twosided;
  const Int step = target.width > 1, last_pair = target.width - 1 - step;
  for (int i = 0; i < c.n; ++i)
    c.upper[i] = c.row[i] * target.width + (c.column[i] > last_pair ? last_pair : c.column[i]);
  read_pairs(target.depth, c.upper, step, c.n, c.sample[0], c.sample[1]);
  for (int i = 0; i < c.n; ++i) {
    const T d = c.column[i] > last_pair ? c.sample[1][i] : c.sample[0][i];
    const T gap = c.z[i] - d;
    const Int valid = is_depth(d) & (c.flags[i] >> 2);
    const Int clear = valid & Int((two_sided ? std::abs(gap) : gap) <= target.tol_abs + target.tol_slope * c.z[i]);
    c.flags[i] += valid * flow_target_valid + clear * flow_not_occluded;
  }
}

// c.sample = the four pixels around (u, v), row by row. One outside the image is replaced by its neighbour among the four.
template <typename T>
void read_square(const Target<T>& target, Chunk<T>& c) {
  using Int = typename Chunk<T>::Int;
  const Int last_row = target.height - 1, step = target.width > 1, last_pair = target.width - 1 - step;
  Int moved = 0;
  for (int i = 0; i < c.n; ++i) {
    const Int x = c.left[i], column = x < 0 ? 0 : x > last_pair ? last_pair : x;
    const Int y = c.top[i], below = y + 1;
    c.upper[i] = (y < 0 ? 0 : y) * target.width + column;
    c.lower[i] = (below > last_row ? last_row : below) * target.width + column;
    moved |= column ^ x;
  }
  read_pairs(target.depth, c.upper, step, c.n, c.sample[0], c.sample[1]);
  read_pairs(target.depth, c.lower, step, c.n, c.sample[2], c.sample[3]);
  if (moved == 0) return;
  for (int k = 0; k < 4; k += 2) {
    for (int i = 0; i < c.n; ++i) {  // a pair moved into the image holds the one pixel that counts on its far side
      const T left = c.sample[k][i], right = c.sample[k + 1][i];
      c.sample[k][i] = c.left[i] > last_pair ? right : left;
      c.sample[k + 1][i] = c.left[i] < 0 ? left : right;
    }
  }
}

// Stage 3, quad: any of the four pixels decides; a neighbour in place of a pixel outside the image changes nothing.
template <typename T>
void judge_quad(const Target<T>& target, Chunk<T>& c) {
  using Int = typename Chunk<T>::Int;
  read_square(target, c);
  for (int i = 0; i < c.n; ++i) {
    const T z = c.z[i], tolerance = target.tol_abs + target.tol_slope * z;
    Int valid = 0, clear = 0;
    for (int corner = 0; corner < 4; ++corner) {
      const T d = c.sample[corner][i];
      const Int usable = is_depth(d);
      valid |= usable;
      clear |= usable & Int(std::abs(z - d) <= tolerance);
    }
    const Int inside = c.flags[i] >> 2;
    c.flags[i] += (valid & inside) * flow_target_valid + (clear & inside) * flow_not_occluded;
  }
}

// Stage 3, bilinear_relative: the blend of the four pixels, of which those outside the image count as 0.
template <typename T>
void judge_bilinear(const Target<T>& target, T offset, Chunk<T>& c) {
  using Int = typename Chunk<T>::Int;
  read_square(target, c);
  for (int i = 0; i < c.n; ++i) {
    const T wx = c.u[i] - offset - static_cast<T>(c.left[i]), wy = c.v[i] - offset - static_cast<T>(c.top[i]);
    T blend = 0;
    for (int corner = 0; corner < 4; ++corner) {
      const int dx = corner & 1, dy = corner >> 1;
      const Int x = c.left[i] + dx, y = c.top[i] + dy;
      const Int there = Int(x >= 0) & Int(x < target.width) & Int(y >= 0) & Int(y < target.height);
      const T d = c.sample[corner][i], weight = (dx ? wx : 1 - wx) * (dy ? wy : 1 - wy);
      blend += (is_depth(d) & there) ? weight * d : T(0);
    }
    const Int valid = Int(blend > 0) & (c.flags[i] >> 2);
    const Int clear = valid & Int(std::abs(c.z[i] - blend) < target.tol_abs + target.tol_slope * blend);
    c.flags[i] += valid * flow_target_valid + clear * flow_not_occluded;
  }
}

// Stages 2 and 3.
template <typename T>
void judge(const Target<T>& target, T offset, Chunk<T>& c) {
  const bool blends = target.rule == FlowRule::bilinear_relative;
  if (!(blends ? land<true>(target, offset, c) : land<false>(target, offset, c))) return;
  if (blends)
    judge_bilinear(target, offset, c);
  else if (target.rule == FlowRule::quad)
    judge_quad(target, c);
  else
    judge_nearest(target, c);
  if (target.mask == nullptr) return;
  for (int i = 0; i < c.n; ++i)
    if (target.mask[c.row[i] * target.width + c.column[i]] == 0) c.flags[i] &= ~flow_target_valid;
}

// Stage 4: store.
template <typename T>
void store(const Chunk<T>& c, T* uv, uint8_t* flags) {
  for (int i = 0; i < c.n; ++i) {
    uv[2 * i] = c.u[i];
    uv[2 * i + 1] = c.v[i];
  }
  for (int i = 0; i < c.n; ++i) flags[i] = static_cast<uint8_t>(c.flags[i]);
}

template <typename T>
Target<T> make_target(const FlowProblem& p, const PairMap& pair, int64_t b, int64_t s) {
  const FlowImages& dst = p.dst;
  return {static_cast<const T*>(dst.depth) + b * dst.depth_stride_b + s * dst.depth_stride_s,
          dst.mask ? dst.mask + b * dst.mask_stride_b + s * dst.mask_stride_s : nullptr,
          dst.height,
          dst.width,
          p.rule,
          static_cast<T>(p.tol_abs),
          static_cast<T>(pair.tol_slope)};
}

// Writes the row to uv [width,2] and flags [width].
template <typename T>
void run_row(const Row<T>& row, const Target<T>& target, int32_t width, T* uv, uint8_t* flags) {
  Chunk<T> chunk;
  for (int x0 = 0; x0 < width; x0 += kChunk) {
    chunk.n = width - x0 < kChunk ? width - x0 : kChunk;
    if (project(row, x0, chunk)) judge(target, row.offset, chunk);
    store(chunk, uv + 2 * x0, flags + x0);
  }
}

template <typename T>
void forward(const FlowProblem& p, T* uv, uint8_t* flags, int threads) {
  const int64_t height = p.src.height, width = p.src.width, rows = p.batch * p.targets * height;
  prefer_huge_pages(uv, 2 * sizeof(T) * static_cast<size_t>(rows * width));
  parallel_for(rows, kRowsPerBlock, threads, [&](int64_t begin, int64_t end) {
    int64_t folded = -1;
    PairMap pair;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t index = item / height, b = index / p.targets, s = index % p.targets;
      if (index != folded) pair = fold_pair(p, b, s);
      folded = index;
      run_row(make_row<T>(p, pair, b, item % height), make_target<T>(p, pair, b, s), p.src.width,
              uv + 2 * item * width, flags + item * width);
    }
  });
}

}  // namespace

void flow_gt(DType dtype, const FlowProblem& problem, void* uv, uint8_t* flags, int threads) {
  if (dtype == DType::float64)
    forward(problem, static_cast<double*>(uv), flags, threads);
  else
    forward(problem, static_cast<float*>(uv), flags, threads);
}

}  // namespace REFKP_ISA
}  // namespace refkp
