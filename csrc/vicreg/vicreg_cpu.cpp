// vicreg on the CPU.
//
// ||c^T c||_F = ||c c^T||_F, so the covariance of a segment costs n dim min(n, dim): the smaller Gram matrix is taken,
// its lower half only, in blocks that are squared and summed while they are in cache. The forward pass therefore keeps
// no matrix; the backward pass keeps the one of the branch at hand, and recomputes it: saving would cost memory for
// every segment to spare a quarter of the arithmetic. With M = c c^T (n <= dim) or c^T c (dim < n), and o = M without
// its diagonal,
//   grad = 4 w_cov / ((n-1)^2 dim) * (M c - c s)  or  4 w_cov / ((n-1)^2 dim) * c o
//          - w_var [sd_d < gamma] / (2 dim (n - delta) sd_d) * c  +/-  2 w_inv / (n dim) * (x - y),
// which needs no further centring. Off-diagonal squares are summed directly for dim < n, where ||M||^2 - sum s^2 would
// cancel; sums of squares are in double.
//
// Many segments are shared out over the threads; a segment that is a large part of the work is cut into blocks instead.
// Every sum runs over fixed blocks in a fixed order, so neither choice, nor the number of threads, changes a bit.
#include "vicreg/vicreg.h"

#include <atomic>

#include "common/parallel.h"
#include "vicreg/vicreg_moments.h"
#include "vicreg/vicreg_panels.h"

namespace refkp {
namespace REFKP_ISA {
namespace {

// Scratch of one thread, or of the threads that share a segment.
template <class T>
struct Workspace {
  Scratch<T> mean, factor, gram, scale;
  Scratch<double> sum_squares, partial;

  void reserve(const Branch<T>& branch, bool backward) {
    const int64_t blocks = blocks_of(branch.side(), kBlock);
    mean.reserve(branch.dim);
    sum_squares.reserve(branch.dim);
    partial.reserve(larger(blocks * (blocks + 1) / 2, blocks_of(branch.n, kBlock)));
    factor.reserve(Panels<T>::elements(branch.side(), branch.depth()));
    if (!backward) return;
    scale.reserve(branch.dim);
    gram.reserve(Panels<T>::elements(branch.side(), round_up(branch.side(), kTileRows)));
  }
};

// Calls body(item, scratch) for every item, with one scratch of `elements` per thread.
template <class T, class Body>
void for_each_block(int64_t count, int64_t elements, int threads, const Body& body) {
  std::atomic<int64_t> next{0};
  parallel_for(smaller(threads, count), 1, threads, [&](int64_t begin, int64_t end) {
    for (int64_t worker = begin; worker < end; ++worker) {
      Scratch<T> scratch(elements);
      for (int64_t item; (item = next.fetch_add(1)) < count;) body(item, scratch.get());
    }
  });
}

// ---- Moments ----------------------------------------------------------------------------------------------------

template <class T>
void moments(const Branch<T>& branch, Workspace<T>& space, int threads) {
  const int64_t grain = threads > 1 ? kBlock : branch.dim;
  parallel_for(branch.dim, grain, threads, [&](int64_t begin, int64_t end) {
    column_moments(branch, {begin, end}, space.mean.get(), space.sum_squares.get());
  });
}

template <class T>
double invariance_sum(const Branch<T>& branch, Workspace<T>& space, int threads) {
  const int64_t blocks = blocks_of(branch.n, kBlock);
  double* partial = space.partial.get();
  parallel_for(blocks, 1, threads, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const Range tokens = block_range(block, branch.n);
      const T* x = branch.x + tokens.begin * branch.dim;
      const T* y = branch.other + tokens.begin * branch.dim;
      partial[block] = sum_terms<T>(tokens.size() * branch.dim, [=](int64_t i) {
        const double difference = double(x[i]) - double(y[i]);
        return difference * difference;
      });
    }
  });
  double sum = 0;
  for (int64_t block = 0; block < blocks; ++block) sum += partial[block];
  return sum;
}

// ---- Gram matrix ------------------------------------------------------------------------------------------------

template <class T>
Panels<T> pack_factor(const Branch<T>& branch, Workspace<T>& space, int threads) {
  const Panels<T> factor{space.factor.get(), branch.depth()};
  parallel_for(blocks_of(branch.side(), kBlock), 1, threads, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const Range rows = block_range(block, branch.side());
      const Panels<T> to{factor.at(rows.begin, 0), factor.depth};
      if (branch.gram()) {
        pack_tokens(branch.x, branch.dim, space.mean.get(), rows, to);
      } else {
        pack_dims(branch.x, branch.n, branch.dim, space.mean.get(), rows, to);
      }
    }
  });
  return factor;
}

struct BlockPair {
  int64_t row, col;  // col <= row
};

BlockPair block_pair(int64_t index) {
  int64_t row = 0;
  while ((row + 1) * (row + 2) / 2 <= index) ++row;
  return {row, index - row * (row + 1) / 2};
}

// Squares of a block of the Gram matrix and of its mirror image, with the diagonal or without.
template <class T>
double block_squares(const T* block, Range rows, Range cols, bool diagonal) {
  double below = 0, on = 0;
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    for (int64_t j = cols.begin; j < cols.end && j <= i; j += kWidth<T>) {
      const T* row = block + (j - cols.begin) / kWidth<T> * kBlock * kWidth<T> + (i - rows.begin) * kWidth<T>;
      below += sum_of_squares(row, smaller(smaller(kWidth<T>, cols.end - j), i - j));
      if (i < j + kWidth<T> && i < cols.end) on += double(row[i - j]) * double(row[i - j]);
    }
  }
  return 2 * below + (diagonal ? on : 0);
}

// sum_{i != j} (c^T c)_ij^2
template <class T>
double off_diagonal_squares(const Branch<T>& branch, Workspace<T>& space, int threads) {
  if (branch.dim == 1) return 0 * space.sum_squares.get()[0];  // nothing but a diagonal; NaN stays NaN
  const Panels<T> factor = pack_factor(branch, space, threads);
  const int64_t blocks = blocks_of(branch.side(), kBlock), pairs = blocks * (blocks + 1) / 2;
  double* partial = space.partial.get();
  for_each_block<T>(pairs, kBlock * kBlock, threads, [&](int64_t index, T* block) {
    const BlockPair pair = block_pair(index);
    const Range rows = block_range(pair.row, branch.side()), cols = block_range(pair.col, branch.side());
    multiply_block(factor, rows, factor, cols, branch.depth(), true, block, kBlock * kWidth<T>);
    partial[index] = block_squares(block, rows, cols, branch.gram());
  });
  double sum = 0;
  for (int64_t index = 0; index < pairs; ++index) sum += partial[index];
  if (!branch.gram()) return sum;
  // NaN stays NaN; rounding must not make a sum of squares negative.
  sum -= sum_of_squares(space.sum_squares.get(), branch.dim);
  return sum < 0 ? 0 : sum;
}

// The whole Gram matrix in panels; its diagonal 0 for dim < n.
template <class T>
Panels<T> gram_matrix(const Branch<T>& branch, Workspace<T>& space, int threads) {
  const Panels<T> factor = pack_factor(branch, space, threads);
  const Panels<T> gram{space.gram.get(), round_up(branch.side(), kTileRows)};
  const int64_t blocks = blocks_of(branch.side(), kBlock);
  for_each_block<T>(blocks * (blocks + 1) / 2, 0, threads, [&](int64_t index, T*) {
    const BlockPair pair = block_pair(index);
    const Range rows = block_range(pair.row, branch.side()), cols = block_range(pair.col, branch.side());
    multiply_block(factor, rows, factor, cols, branch.depth(), true, gram.at(cols.begin, rows.begin),
                   gram.depth * kWidth<T>);
    for (int64_t j = cols.begin; j < cols.end; ++j)
      for (int64_t i = larger(rows.begin, j + 1); i < rows.end; ++i) *gram.at(i, j) = *gram.at(j, i);
    if (pair.row != pair.col || branch.gram()) return;
    for (int64_t i = rows.begin; i < rows.end; ++i) *gram.at(i, i) = T(0);
  });
  return gram;
}

// ---- Gradient ---------------------------------------------------------------------------------------------------

// grad = product * product_scale + (x - mean) * scale_d + (x - other) * difference_scale
template <class T>
struct Gradient {
  T* out;  // [n, dim]
  const T* mean;
  const T* scale;
  T product_scale, difference_scale;

  // `product` in column panels of kBlock rows, or null for none.
  void write(const Branch<T>& branch, Range tokens, Range dims, const T* product) const {
    for (int64_t first = dims.begin; first < dims.end; first += kWidth<T>) {
      const int64_t count = smaller(kWidth<T>, dims.end - first);
      for (int64_t token = tokens.begin; token < tokens.end; ++token) {
        const int64_t at = token * branch.dim + first;
        const T *x = branch.x + at, *other = branch.other + at;
        T* to = out + at;
        for (int64_t d = 0; d < count; ++d) {
          to[d] = (x[d] - mean[first + d]) * scale[first + d] + (x[d] - other[d]) * difference_scale;
        }
        if (product == nullptr) continue;
        const T* row = product + (token - tokens.begin) * kWidth<T>;
        for (int64_t d = 0; d < count; ++d) to[d] += row[d] * product_scale;
      }
      if (product != nullptr) product += kBlock * kWidth<T>;
    }
  }
};

// The product of the Gram matrix with c, block by block, straight into the gradient. An item packs the block of c that
// its products share.
template <class T>
void write_with_product(const Branch<T>& branch, const Gradient<T>& gradient, Panels<T> gram, int threads) {
  const int64_t shared_count = branch.depth(), other_count = branch.side();
  const int64_t chunk_elements = Panels<T>::elements(kBlock, branch.side());
  const int64_t elements = chunk_elements + kBlock * kBlock;
  for_each_block<T>(blocks_of(shared_count, kBlock), elements, threads, [&](int64_t item, T* scratch) {
    const Range shared = block_range(item, shared_count);
    const Range local{0, shared.size()};
    const Panels<T> chunk{scratch, branch.side()};
    T* block = scratch + chunk_elements;
    if (branch.gram()) {
      pack_dims(branch.x, branch.n, branch.dim, gradient.mean, shared, chunk);
    } else {
      pack_tokens(branch.x, branch.dim, gradient.mean, shared, chunk);
    }
    for (int64_t index = 0; index < blocks_of(other_count, kBlock); ++index) {
      const Range other = block_range(index, other_count);
      if (branch.gram()) {
        multiply_block(gram, other, chunk, local, branch.side(), false, block, kBlock * kWidth<T>);
        gradient.write(branch, other, shared, block);
      } else {
        multiply_block(chunk, local, gram, other, branch.side(), false, block, kBlock * kWidth<T>);
        gradient.write(branch, shared, other, block);
      }
    }
  });
}

struct Weights {
  double invariance, variance, covariance;
};

template <class T>
void branch_gradient(const Branch<T>& branch, const Weights& weights, const Hinge& hinge, T* out, Workspace<T>& space,
                     int threads) {
  const double n = double(branch.n), dim = double(branch.dim);
  const bool spread = branch.n > 1;
  const double covariance = spread ? 4 * weights.covariance / ((n - 1) * (n - 1) * dim) : 0;
  moments(branch, space, threads);
  for (int64_t d = 0; d < branch.dim; ++d) {
    const double s = space.sum_squares.get()[d];
    const double variance = spread ? weights.variance * hinge.slope(s) / (2 * dim) : 0;
    space.scale.get()[d] = T(-variance - (branch.gram() ? covariance * s : 0));
  }
  const Gradient<T> gradient{out, space.mean.get(), space.scale.get(), T(covariance),
                             T(2 * weights.invariance / (n * dim))};
  if (covariance != 0) {
    write_with_product(branch, gradient, gram_matrix(branch, space, threads), threads);
    return;
  }
  parallel_for(branch.n, kBlock, threads, [&](int64_t begin, int64_t end) {
    gradient.write(branch, {begin, end}, {0, branch.dim}, nullptr);
  });
}

// ---- Segments ---------------------------------------------------------------------------------------------------

template <class T>
struct Problem {
  const VICRegProblem& given;

  Branch<T> branch(int64_t segment, bool second) const {
    const int64_t begin = given.offsets[segment], n = given.offsets[segment + 1] - begin;
    const T* x = static_cast<const T*>(given.x) + begin * given.dim;
    const T* y = static_cast<const T*>(given.y) + begin * given.dim;
    return second ? Branch<T>{y, x, n, given.dim} : Branch<T>{x, y, n, given.dim};
  }
  Hinge hinge(int64_t n) const { return {given.gamma, given.eps, double(n - (given.unbiased ? 1 : 0))}; }
};

template <class T>
Weights segment_terms(const Problem<T>& problem, int64_t segment, Workspace<T>& space, int threads) {
  const Branch<T> first = problem.branch(segment, false);
  if (first.n == 0 || first.dim == 0) return {0, 0, 0};
  const double n = double(first.n), dim = double(first.dim);
  space.reserve(first, false);
  Weights terms{invariance_sum(first, space, threads) / (n * dim), 0, 0};
  if (first.n == 1) return terms;
  const Hinge hinge = problem.hinge(first.n);
  for (bool second : {false, true}) {
    const Branch<T> branch = problem.branch(segment, second);
    moments(branch, space, threads);
    double gap = 0;
    for (int64_t d = 0; d < branch.dim; ++d) gap += hinge.value(space.sum_squares.get()[d]);
    terms.variance += gap / (2 * dim);
    terms.covariance += off_diagonal_squares(branch, space, threads) / (dim * (n - 1) * (n - 1));
  }
  return terms;
}

template <class T>
void segment_gradient(const Problem<T>& problem, int64_t segment, const Weights& weights, T* grad_x, T* grad_y,
                      Workspace<T>& space, int threads) {
  for (bool second : {false, true}) {
    const Branch<T> branch = problem.branch(segment, second);
    if (branch.n == 0 || branch.dim == 0) return;
    space.reserve(branch, true);
    T* out = (second ? grad_y : grad_x) + problem.given.offsets[segment] * branch.dim;
    branch_gradient(branch, weights, problem.hinge(branch.n), out, space, threads);
  }
}

constexpr double kWorthCutting = 4e6;  // multiply-adds; below, waking a thread costs more than it saves

// Calls body(segment, workspace, threads): first the segments that are cut into blocks, one after another on all
// threads, then the others, each on one thread.
template <class T, class Body>
void for_each_segment(const Problem<T>& problem, int threads, const Body& body) {
  const int64_t count = problem.given.num_segments;
  double total = 0;
  for (int64_t segment = 0; segment < count; ++segment) total += problem.branch(segment, false).work();
  auto is_cut = [&](int64_t segment) {
    const double work = problem.branch(segment, false).work();
    return threads > 1 && work > kWorthCutting && work * 2 * threads >= total;
  };
  {
    Workspace<T> space;
    for (int64_t segment = 0; segment < count; ++segment)
      if (is_cut(segment)) body(segment, space, threads);
  }
  std::atomic<int64_t> next{0};
  parallel_for(smaller(threads, count), 1, threads, [&](int64_t begin, int64_t end) {
    for (int64_t worker = begin; worker < end; ++worker) {
      Workspace<T> space;
      for (int64_t segment; (segment = next.fetch_add(1)) < count;)
        if (!is_cut(segment)) body(segment, space, 1);
    }
  });
}

template <class T>
void forward(const VICRegProblem& given, T* terms, int threads) {
  const Problem<T> problem{given};
  for_each_segment(problem, threads, [&](int64_t segment, Workspace<T>& space, int share) {
    const Weights value = segment_terms(problem, segment, space, share);
    terms[segment] = T(value.invariance);
    terms[given.num_segments + segment] = T(value.variance);
    terms[2 * given.num_segments + segment] = T(value.covariance);
  });
}

template <class T>
void backward(const VICRegProblem& given, const T* weights, T* grad_x, T* grad_y, int threads) {
  const Problem<T> problem{given};
  for_each_segment(problem, threads, [&](int64_t segment, Workspace<T>& space, int share) {
    const Weights weight{weights[segment], weights[given.num_segments + segment],
                         weights[2 * given.num_segments + segment]};
    segment_gradient(problem, segment, weight, grad_x, grad_y, space, share);
  });
}

}  // namespace

void vicreg(DType dtype, const VICRegProblem& problem, void* terms, int threads) {
  if (dtype == DType::float64) return forward(problem, static_cast<double*>(terms), threads);
  forward(problem, static_cast<float*>(terms), threads);
}

void vicreg_backward(DType dtype, const VICRegProblem& problem, const void* weights, void* grad_x, void* grad_y,
                     int threads) {
  if (dtype == DType::float64) {
    return backward(problem, static_cast<const double*>(weights), static_cast<double*>(grad_x),
                    static_cast<double*>(grad_y), threads);
  }
  backward(problem, static_cast<const float*>(weights), static_cast<float*>(grad_x), static_cast<float*>(grad_y),
           threads);
}

}  // namespace REFKP_ISA
}  // namespace refkp
