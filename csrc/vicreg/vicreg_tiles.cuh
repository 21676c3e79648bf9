// Products of 64 x 64 tiles for vicreg_cuda.cu: operands staged in shared memory, 4 x 4 sums per thread.
#pragma once

#include <cstdint>

namespace refkp {
namespace cuda {
namespace {

constexpr int kTile = 64, kDepthStep = 32, kThreads = 256, kPerThread = 4;
constexpr int kStride = kTile + 4;  // of a staged row: float4 stays aligned, and staging either way meets no bank twice

typedef float Stage[kDepthStep][kStride];

struct alignas(16) Stages {
  Stage a, b;
};

// Stages value(i, k) for a source that is contiguous along k: a warp takes 8 k of 4 rows, which fall into 32 banks.
template <class Value>
__device__ void stage_along_depth(Stage& stage, int64_t k0, const Value& value) {
  for (int e = threadIdx.x; e < kTile * kDepthStep; e += kThreads) {
    const int k = e % 8 + e / 32 % (kDepthStep / 8) * 8;
    const int i = e / 8 % 4 + e / (4 * kDepthStep) * 4;
    stage[k][i] = value(i, k0 + k);
  }
}

// The same for a source that is contiguous along i.
template <class Value>
__device__ void stage_along_rows(Stage& stage, int64_t k0, const Value& value) {
  for (int e = threadIdx.x; e < kTile * kDepthStep; e += kThreads)
    stage[e / kTile][e % kTile] = value(e % kTile, k0 + e / kTile);
}

struct Sums {
  float value[kPerThread][kPerThread] = {};

  __device__ static int row(int r) { return threadIdx.x / (kTile / kPerThread) * kPerThread + r; }
  __device__ static int col(int c) { return threadIdx.x % (kTile / kPerThread) * kPerThread + c; }

  __device__ void add_product(const Stage& a, const Stage& b) {
    for (int k = 0; k < kDepthStep; ++k) {
      const float4 left = *reinterpret_cast<const float4*>(&a[k][row(0)]);
      const float4 right = *reinterpret_cast<const float4*>(&b[k][col(0)]);
      const float rows[] = {left.x, left.y, left.z, left.w}, cols[] = {right.x, right.y, right.z, right.w};
#pragma unroll
      for (int r = 0; r < kPerThread; ++r)
#pragma unroll
        for (int c = 0; c < kPerThread; ++c) value[r][c] += rows[r] * cols[c];
    }
  }
};

// stage_a(stage, k0) and stage_b(stage, k0) fill the operands from depth k0 on. `stages` is in shared memory.
template <class StageA, class StageB>
__device__ Sums multiply(Stages& stages, int64_t depth, const StageA& stage_a, const StageB& stage_b) {
  Sums sums;
  for (int64_t k0 = 0; k0 < depth; k0 += kDepthStep) {
    stage_a(stages.a, k0);
    stage_b(stages.b, k0);
    __syncthreads();
    sums.add_product(stages.a, stages.b);
    __syncthreads();
  }
  return sums;
}

struct TilePair {
  int64_t row, col;  // col <= row
};

__device__ TilePair tile_pair(int64_t index) {
  int64_t row = int64_t((sqrt(8.0 * double(index) + 1.0) - 1.0) / 2.0);
  while (row * (row + 1) / 2 > index) --row;
  while ((row + 1) * (row + 2) / 2 <= index) ++row;
  return {row, index - row * (row + 1) / 2};
}

// The sum over the block, in a fixed tree; valid in thread 0.
__device__ double sum_block(double value) {
  __shared__ double shared[kThreads];
  shared[threadIdx.x] = value;
  for (int lane = kThreads / 2; lane > 0; lane /= 2) {
    __syncthreads();
    if (int(threadIdx.x) < lane) shared[threadIdx.x] += shared[threadIdx.x + lane];
  }
  __syncthreads();
  const double sum = shared[0];
  __syncthreads();
  return sum;
}

}  // namespace
}  // namespace cuda
}  // namespace refkp
