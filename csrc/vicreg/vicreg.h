// vicreg: the invariance, variance and covariance terms of two branches x, y [T, dim] over ragged segments of rows.
//
// Segment p is rows offsets[p] .. offsets[p + 1]; n is its length, c its rows minus their mean, s_d = sum_l c_ld^2.
//   invariance = sum (x - y)^2 / (n dim)
//   variance   = mean over both branches and all d of max(0, gamma - sqrt(s_d / (n - delta) + eps)), delta = unbiased
//   covariance = sum over both branches of sum_{i != j} (c^T c)_ij^2 / (dim (n - 1)^2)
// A segment of one row has variance and covariance 0, an empty one has all terms 0.
//
// Forward writes terms [3, num_segments]. Backward takes the cotangents of the terms, `weights` [3, num_segments], and
// writes grad_x and grad_y [T, dim]. All arrays are contiguous; those of Backward and Forward have one element type,
// except that CUDA keeps terms and weights in float32 when the branches are stored in half precision.
#pragma once

#include <cstdint>

#include "common/dtype.h"
#include "common/isa.h"

namespace refkp {

struct VICRegProblem {
  const void* x;
  const void* y;
  const int64_t* offsets;  // [num_segments + 1]; on the device for CUDA
  int64_t num_segments;
  int64_t dim;
  double gamma;
  double eps;
  bool unbiased;
};

// Device memory that the caller provides, and what the host knows of the offsets.
struct VICRegScratch {
  float* moments;               // [4, num_segments, dim]
  double* partial;              // forward: [vicreg_partials(...)]
  float* gram;                  // backward: [2, gram_offsets[num_segments]]
  const int64_t* gram_offsets;  // [num_segments + 1], running sum of min(n, dim)^2
  int64_t max_rows;             // of the longest segment
};

REFKP_DECLARE_PER_ISA(
  void vicreg(DType dtype, const VICRegProblem& problem, void* terms, int threads);
  void vicreg_backward(DType dtype, const VICRegProblem& problem, const void* weights, void* grad_x, void* grad_y,
                       int threads);
)

namespace cuda {

// The doubles of scratch that the forward pass needs.
int64_t vicreg_partials(int64_t num_segments, int64_t dim, int64_t max_rows);
void vicreg(DType dtype, const VICRegProblem& problem, const VICRegScratch& scratch, float* terms, void* stream);
void vicreg_backward(DType dtype, const VICRegProblem& problem, const VICRegScratch& scratch, const float* weights,
                     void* grad_x, void* grad_y, void* stream);

}  // namespace cuda
}  // namespace refkp
