// Sums over one branch of a segment for vicreg_cpu.cpp, in double: column moments, squares, hinge of the variance.
#pragma once

#include <cmath>
#include <cstdint>

#include "common/isa.h"
#include "vicreg/vicreg_panels.h"

namespace refkp {
namespace REFKP_ISA {
namespace {

// One branch of one segment, and the other branch.
template <class T>
struct Branch {
  const T* x;      // [n, dim]
  const T* other;  // [n, dim]
  int64_t n, dim;

  bool gram() const { return n <= dim; }
  int64_t side() const { return smaller(n, dim); }   // rows of the Gram matrix
  int64_t depth() const { return larger(n, dim); }
  double work() const { return double(n) * dim * side(); }
};

constexpr int kSumLanes = 8;  // independent double sums, so that the compiler may use vectors

template <class T, class Term>
double sum_terms(int64_t count, const Term& term) {
  double lanes[kSumLanes] = {};
  int64_t i = 0;
  for (; i + kSumLanes <= count; i += kSumLanes)
    for (int lane = 0; lane < kSumLanes; ++lane) lanes[lane] += term(i + lane);
  double sum = 0;
  for (; i < count; ++i) sum += term(i);
  for (double lane : lanes) sum += lane;
  return sum;
}

template <class T>
double sum_of_squares(const T* values, int64_t count) {
  return sum_terms<T>(count, [=](int64_t i) { return double(values[i]) * double(values[i]); });
}

// mean_d and s_d of the columns `dims`, in double; the mean is rounded to T before it is subtracted.
template <class T>
void column_moments(const Branch<T>& branch, Range dims, T* mean, double* sum_squares) {
  for (int64_t d = dims.begin; d < dims.end; ++d) sum_squares[d] = 0;
  for (int64_t token = 0; token < branch.n; ++token) {
    const T* row = branch.x + token * branch.dim;
    for (int64_t d = dims.begin; d < dims.end; ++d) sum_squares[d] += row[d];
  }
  for (int64_t d = dims.begin; d < dims.end; ++d) {
    mean[d] = T(sum_squares[d] / double(branch.n));
    sum_squares[d] = 0;
  }
  for (int64_t token = 0; token < branch.n; ++token) {
    const T* row = branch.x + token * branch.dim;
    for (int64_t d = dims.begin; d < dims.end; ++d) {
      const double centred = row[d] - mean[d];
      sum_squares[d] += centred * centred;
    }
  }
}

struct Hinge {
  double gamma, eps, freedom;  // freedom = n - delta

  double deviation(double sum_squares) const { return std::sqrt(sum_squares / freedom + eps); }
  // Written so that NaN stays NaN.
  double value(double sum_squares) const {
    const double gap = gamma - deviation(sum_squares);
    return gap <= 0 ? 0 : gap;
  }
  // d value / d c = -slope * c
  double slope(double sum_squares) const {
    const double sd = deviation(sum_squares);
    return gamma - sd <= 0 ? 0 : 1 / (freedom * sd);
  }
};

}  // namespace
}  // namespace REFKP_ISA
}  // namespace refkp
