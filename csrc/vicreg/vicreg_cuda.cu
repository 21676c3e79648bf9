// vicreg on CUDA: float32 arithmetic on float32, float16 or bfloat16 storage.
//
// Forward: moments (mean and s of every column, squared differences), lower tiles of the smaller Gram matrix (c c^T for
// n <= dim, else c^T c) squared and summed in registers, then one block per segment that adds everything up. Backward:
// moments, the Gram tiles written to scratch, then one block per gradient tile that multiplies them with c. Scratch for
// the matrices is the sum of min(n, dim)^2 per branch, never more elements than a branch has itself.
//
// A grid has a block for every (branch, segment, tile) of the longest segment; those beyond a shorter one return.
// Tiles are kTile x kTile with 4 x 4 sums per thread; the product is bound by the float32 multiply-adds and by shared
// memory reads, about one each. Sums run in a fixed order, in double beyond a tile: no atomics, bitwise repeatable.
#include "vicreg/vicreg.h"

#include "common/cuda_support.cuh"
#include "vicreg/vicreg_tiles.cuh"

namespace refkp {
namespace cuda {
namespace {

constexpr int kColumns = 32, kRowLanes = kThreads / kColumns;  // of a block of the moments

int64_t tiles_of(int64_t count) { return ceil_div(count, kTile); }

// What every kernel reads. `moments` is [mean or s][branch][segment][dim].
template <class S>
struct Device {
  const S* branches[2];
  const int64_t* offsets;
  const int64_t* gram_offsets;
  int64_t num_segments, dim;
  float* moments;

  __device__ float* mean(int branch, int64_t segment) const {
    return moments + (branch * num_segments + segment) * dim;
  }
  __device__ float* sum_squares(int branch, int64_t segment) const {
    return moments + ((2 + branch) * num_segments + segment) * dim;
  }
};

// The segment of a block, and its branch less the mean; 0 outside, so that partial tiles need no care.
template <class S>
struct Centred {
  const S* x;  // [n, dim]
  const float* mean;
  int64_t n, dim;

  __device__ Centred(const Device<S>& device, int branch, int64_t segment)
      : x(device.branches[branch] + device.offsets[segment] * device.dim),
        mean(device.mean(branch, segment)),
        n(device.offsets[segment + 1] - device.offsets[segment]),
        dim(device.dim) {}
  __device__ bool gram() const { return n <= dim; }
  __device__ int64_t side() const { return gram() ? n : dim; }
  __device__ float at(int64_t token, int64_t d) const {
    return token < n && d < dim ? to_float(x[token * dim + d]) - mean[d] : 0.0f;
  }
};

// ---- Moments ----------------------------------------------------------------------------------------------------

// The sum over the row lanes of a block, in order; every lane of a column gets it.
__device__ float sum_rows(float value) {
  __shared__ float shared[kRowLanes][kColumns];
  shared[threadIdx.y][threadIdx.x] = value;
  __syncthreads();
  float sum = 0;
  for (int lane = 0; lane < kRowLanes; ++lane) sum += shared[lane][threadIdx.x];
  __syncthreads();
  return sum;
}

// One block per (segment, kColumns columns). The first row is taken off before the mean is formed, so that a mean far
// from 0 costs no digits. `differences` [segment][column block], or null.
template <class S>
__global__ void moments_kernel(Device<S> device, int64_t column_blocks, double* differences) {
  const int64_t segment = blockIdx.x / column_blocks;
  const int64_t d = blockIdx.x % column_blocks * kColumns + threadIdx.x;
  const int64_t begin = device.offsets[segment], n = device.offsets[segment + 1] - begin;
  const bool inside = d < device.dim && n > 0;
  for (int branch = 0; branch < 2; ++branch) {
    const S* x = device.branches[branch] + begin * device.dim + d;
    const float first = inside ? to_float(x[0]) : 0.0f;
    float sum = 0;
    for (int64_t token = threadIdx.y; inside && token < n; token += kRowLanes)
      sum += to_float(x[token * device.dim]) - first;
    const float mean = first + sum_rows(sum) / float(n);
    float squares = 0;
    for (int64_t token = threadIdx.y; inside && token < n; token += kRowLanes) {
      const float centred = to_float(x[token * device.dim]) - mean;
      squares += centred * centred;
    }
    squares = sum_rows(squares);
    if (inside && threadIdx.y == 0) {
      device.mean(branch, segment)[d] = mean;
      device.sum_squares(branch, segment)[d] = squares;
    }
  }
  if (differences == nullptr) return;
  float squares = 0;
  for (int64_t token = threadIdx.y; inside && token < n; token += kRowLanes) {
    const int64_t at = (begin + token) * device.dim + d;
    const float difference = to_float(device.branches[0][at]) - to_float(device.branches[1][at]);
    squares += difference * difference;
  }
  double sum = sum_rows(squares);
  if (threadIdx.y > 0) return;
  for (int lane = kColumns / 2; lane > 0; lane /= 2) sum += __shfl_down_sync(0xffffffffu, sum, lane);
  if (threadIdx.x == 0) differences[blockIdx.x] = sum;
}

// ---- Gram tiles -------------------------------------------------------------------------------------------------

template <class S>
__device__ Sums gram_tile(Stages& stages, const Centred<S>& c, TilePair pair) {
  if (c.gram()) {
    auto rows_of = [&](int64_t tile) {
      return [=](Stage& stage, int64_t k0) {
        stage_along_depth(stage, k0, [&](int i, int64_t k) { return c.at(tile * kTile + i, k); });
      };
    };
    return multiply(stages, c.dim, rows_of(pair.row), rows_of(pair.col));
  }
  auto columns_of = [&](int64_t tile) {
    return [=](Stage& stage, int64_t k0) {
      stage_along_rows(stage, k0, [&](int i, int64_t k) { return c.at(k, tile * kTile + i); });
    };
  };
  return multiply(stages, c.n, columns_of(pair.row), columns_of(pair.col));
}

struct TileBlock {
  int branch;
  int64_t segment, tile;

  // The place of this block in a grid of [branch][segment][tile].
  __device__ TileBlock(int64_t num_segments, int64_t tiles)
      : branch(int(blockIdx.x / (num_segments * tiles))),
        segment(blockIdx.x / tiles % num_segments),
        tile(blockIdx.x % tiles) {}
};

// partial [branch][segment][pair]: squares of the tile and its mirror image, with the diagonal for n <= dim.
template <class S>
__global__ void gram_squares_kernel(Device<S> device, int64_t pairs, double* partial) {
  const TileBlock block(device.num_segments, pairs);
  const Centred<S> c(device, block.branch, block.segment);
  const TilePair pair = tile_pair(block.tile);
  if (c.n < 2 || pair.row * kTile >= c.side()) return;
  __shared__ Stages stages;
  const Sums sums = gram_tile(stages, c, pair);
  double squares = 0;
  for (int r = 0; r < kPerThread; ++r)
    for (int col = 0; col < kPerThread; ++col) {
      const int64_t i = pair.row * kTile + sums.row(r), j = pair.col * kTile + sums.col(col);
      const double value = sums.value[r][col];  // 0 beyond the side
      if (j < i) squares += 2 * value * value;
      if (j == i && c.gram()) squares += value * value;
    }
  squares = sum_block(squares);
  if (threadIdx.x == 0) partial[blockIdx.x] = squares;
}

// gram [branch][gram_offsets]: the whole matrix of every segment; its diagonal 0 for dim < n.
template <class S>
__global__ void gram_kernel(Device<S> device, int64_t pairs, float* gram) {
  const TileBlock block(device.num_segments, pairs);
  const Centred<S> c(device, block.branch, block.segment);
  const TilePair pair = tile_pair(block.tile);
  if (c.n < 2 || pair.row * kTile >= c.side()) return;
  __shared__ Stages stages;
  const Sums sums = gram_tile(stages, c, pair);
  float* to = gram + block.branch * device.gram_offsets[device.num_segments] + device.gram_offsets[block.segment];
  for (int r = 0; r < kPerThread; ++r)
    for (int col = 0; col < kPerThread; ++col) {
      const int64_t i = pair.row * kTile + sums.row(r), j = pair.col * kTile + sums.col(col);
      if (i >= c.side() || j > i) continue;
      const float value = i == j && !c.gram() ? 0.0f : sums.value[r][col];
      to[i * c.side() + j] = to[j * c.side() + i] = value;
    }
}

// ---- Terms and gradient -----------------------------------------------------------------------------------------

struct Hinge {
  float gamma, eps;
  int delta;

  // Written so that NaN stays NaN.
  __device__ float value(float sum_squares, int64_t n) const {
    const float gap = gamma - sqrtf(sum_squares / float(n - delta) + eps);
    return gap <= 0 ? 0 : gap;
  }
  // d value / d c = -slope * c
  __device__ float slope(float sum_squares, int64_t n) const {
    const float sd = sqrtf(sum_squares / float(n - delta) + eps);
    return gamma - sd <= 0 ? 0 : 1 / (float(n - delta) * sd);
  }
};

// One block per segment adds up its terms.
template <class S>
__global__ void terms_kernel(Device<S> device, Hinge hinge, int64_t column_blocks, const double* differences,
                             int64_t pairs, const double* partial, float* terms) {
  const int64_t segment = blockIdx.x, dim = device.dim;
  const int64_t n = device.offsets[segment + 1] - device.offsets[segment];
  const int64_t side_tiles = ((n <= dim ? n : dim) + kTile - 1) / kTile;
  double invariance = 0, variance = 0, covariance = 0;
  for (int64_t i = threadIdx.x; n > 0 && i < column_blocks; i += kThreads)
    invariance += differences[segment * column_blocks + i];
  for (int branch = 0; n > 1 && branch < 2; ++branch) {
    const float* s = device.sum_squares(branch, segment);
    for (int64_t d = threadIdx.x; d < dim; d += kThreads) {
      variance += hinge.value(s[d], n);
      if (n <= dim) covariance -= double(s[d]) * double(s[d]);
      if (dim == 1) covariance += 0 * double(s[d]);  // nothing but a diagonal; NaN stays NaN
    }
    const double* squares = partial + (branch * device.num_segments + segment) * pairs;
    for (int64_t pair = threadIdx.x; pair < side_tiles * (side_tiles + 1) / 2; pair += kThreads)
      covariance += squares[pair];
  }
  invariance = sum_block(invariance);
  variance = sum_block(variance);
  covariance = sum_block(covariance);
  if (threadIdx.x > 0) return;
  const bool none = n == 0 || dim == 0;
  if (covariance < 0) covariance = 0;  // rounding only
  terms[segment] = none ? 0 : float(invariance / (double(n) * double(dim)));
  terms[device.num_segments + segment] = n < 2 || none ? 0 : float(variance / (2 * double(dim)));
  terms[2 * device.num_segments + segment] =
      n < 2 || none ? 0 : float(covariance / (double(dim) * double(n - 1) * double(n - 1)));
}

// A tile [tokens, dims] of the product of the Gram matrix with c.
template <class S>
__device__ Sums gradient_product(Stages& stages, const Centred<S>& c, const float* gram, int64_t token0, int64_t d0) {
  const int64_t side = c.side();
  auto matrix = [=](int64_t i, int64_t j) { return i < side && j < side ? gram[i * side + j] : 0.0f; };
  if (c.gram()) {
    return multiply(
        stages, side,
        [=](Stage& stage, int64_t k0) {
          stage_along_depth(stage, k0, [&](int i, int64_t k) { return matrix(token0 + i, k); });
        },
        [=](Stage& stage, int64_t k0) {
          stage_along_rows(stage, k0, [&](int i, int64_t k) { return c.at(k, d0 + i); });
        });
  }
  return multiply(
      stages, side,
      [=](Stage& stage, int64_t k0) {
        stage_along_depth(stage, k0, [&](int i, int64_t k) { return c.at(token0 + i, k); });
      },
      [=](Stage& stage, int64_t k0) {
        stage_along_rows(stage, k0, [&](int i, int64_t k) { return matrix(k, d0 + i); });
      });
}

// grad = w_cov * (product - c s) - w_var * slope * c + w_inv * (x - y), the weights with their constant factors.
template <class S>
__global__ void gradient_kernel(Device<S> device, Hinge hinge, int64_t tiles, int64_t dim_tiles, const float* gram,
                                const float* weights, S* grad_x, S* grad_y) {
  const TileBlock block(device.num_segments, tiles);
  const Centred<S> c(device, block.branch, block.segment);
  const int64_t token0 = block.tile / dim_tiles * kTile, d0 = block.tile % dim_tiles * kTile;
  if (token0 >= c.n) return;
  const float n = float(c.n), dim = float(c.dim);
  const bool spread = c.n > 1;
  const float invariance = 2 * weights[block.segment] / (n * dim);
  const float variance = spread ? weights[device.num_segments + block.segment] / (2 * dim) : 0;
  const float covariance =
      spread ? 4 * weights[2 * device.num_segments + block.segment] / ((n - 1) * (n - 1) * dim) : 0;
  __shared__ Stages stages;
  Sums sums;
  if (covariance != 0) {
    const int64_t at = block.branch * device.gram_offsets[device.num_segments] + device.gram_offsets[block.segment];
    sums = gradient_product(stages, c, gram + at, token0, d0);
  }
  const int64_t begin = device.offsets[block.segment] * c.dim;
  const S* other = device.branches[1 - block.branch] + begin;
  S* out = (block.branch == 0 ? grad_x : grad_y) + begin;
  for (int col = 0; col < kPerThread; ++col) {
    const int64_t d = d0 + sums.col(col);
    if (d >= c.dim) continue;
    const float s = device.sum_squares(block.branch, block.segment)[d];
    const float scale = -(spread ? variance * hinge.slope(s, c.n) : 0) - (c.gram() ? covariance * s : 0);
    for (int r = 0; r < kPerThread; ++r) {
      const int64_t token = token0 + sums.row(r);
      if (token >= c.n) continue;
      const int64_t at = token * c.dim + d;
      const float difference = to_float(c.x[at]) - to_float(other[at]);
      out[at] = from_float<S>(covariance * sums.value[r][col] + scale * c.at(token, d) + invariance * difference);
    }
  }
}

// ---- Launches ---------------------------------------------------------------------------------------------------

int64_t column_blocks_of(int64_t dim) { return ceil_div(dim, kColumns); }

int64_t pairs_of(int64_t dim, int64_t max_rows) {
  const int64_t tiles = tiles_of(max_rows < dim ? max_rows : dim);
  return tiles * (tiles + 1) / 2;
}

template <class S>
Device<S> device_of(const VICRegProblem& problem, const VICRegScratch& scratch) {
  return {{static_cast<const S*>(problem.x), static_cast<const S*>(problem.y)},
          problem.offsets,
          scratch.gram_offsets,
          problem.num_segments,
          problem.dim,
          scratch.moments};
}

template <class S>
void launch_moments(const Device<S>& device, double* differences, cudaStream_t stream) {
  const int64_t column_blocks = column_blocks_of(device.dim);
  const unsigned int grid = grid_size(device.num_segments * column_blocks);
  if (grid > 0) moments_kernel<S><<<grid, dim3(kColumns, kRowLanes), 0, stream>>>(device, column_blocks, differences);
}

template <class S>
void forward(const VICRegProblem& problem, const VICRegScratch& scratch, float* terms, cudaStream_t stream) {
  const Device<S> device = device_of<S>(problem, scratch);
  const Hinge hinge{float(problem.gamma), float(problem.eps), problem.unbiased ? 1 : 0};
  const int64_t column_blocks = column_blocks_of(problem.dim), pairs = pairs_of(problem.dim, scratch.max_rows);
  double* differences = scratch.partial + 2 * problem.num_segments * pairs;
  launch_moments(device, differences, stream);
  const unsigned int grid = grid_size(2 * problem.num_segments * pairs);
  if (grid > 0) gram_squares_kernel<S><<<grid, kThreads, 0, stream>>>(device, pairs, scratch.partial);
  terms_kernel<S><<<grid_size(problem.num_segments), kThreads, 0, stream>>>(
      device, hinge, column_blocks, differences, pairs, scratch.partial, terms);
  check_launch("vicreg");
}

template <class S>
void backward(const VICRegProblem& problem, const VICRegScratch& scratch, const float* weights, S* grad_x, S* grad_y,
              cudaStream_t stream) {
  const Device<S> device = device_of<S>(problem, scratch);
  const Hinge hinge{float(problem.gamma), float(problem.eps), problem.unbiased ? 1 : 0};
  const int64_t pairs = pairs_of(problem.dim, scratch.max_rows), dim_tiles = tiles_of(problem.dim);
  const int64_t tiles = tiles_of(scratch.max_rows) * dim_tiles;
  if (problem.num_segments * tiles == 0) return;
  launch_moments(device, nullptr, stream);
  gram_kernel<S><<<grid_size(2 * problem.num_segments * pairs), kThreads, 0, stream>>>(device, pairs, scratch.gram);
  gradient_kernel<S><<<grid_size(2 * problem.num_segments * tiles), kThreads, 0, stream>>>(
      device, hinge, tiles, dim_tiles, scratch.gram, weights, grad_x, grad_y);
  check_launch("vicreg_backward");
}

}  // namespace

int64_t vicreg_partials(int64_t num_segments, int64_t dim, int64_t max_rows) {
  return num_segments * (2 * pairs_of(dim, max_rows) + column_blocks_of(dim));
}

void vicreg(DType dtype, const VICRegProblem& problem, const VICRegScratch& scratch, float* terms, void* stream) {
  if (problem.num_segments == 0) return;
  dispatch_storage(dtype, [&](auto storage) {
    forward<decltype(storage)>(problem, scratch, terms, static_cast<cudaStream_t>(stream));
  });
}

void vicreg_backward(DType dtype, const VICRegProblem& problem, const VICRegScratch& scratch, const float* weights,
                     void* grad_x, void* grad_y, void* stream) {
  dispatch_storage(dtype, [&](auto storage) {
    using S = decltype(storage);
    backward<S>(problem, scratch, weights, static_cast<S*>(grad_x), static_cast<S*>(grad_y),
                static_cast<cudaStream_t>(stream));
  });
}

}  // namespace cuda
}  // namespace refkp
