// flow_gt: where each source pixel lands in each target image, and whether it is seen there.
//
//   X = z K_src^-1 (x, y, 1)      source pixel (i, j) at image point (x, y) = (j + o, i + o), o = pixel_offset
//   (U, V, Z) = K_dst dst_from_src X,   (u, v) = (U, V) / Z
//
// Everything but z folds into one 3x4 affine map per (source, target) pair (fold.h). Flags, each set only where the
// earlier ones down to `inside` are: bit 0 source depth valid, 1 in front of the target camera, 2 inside the target
// image, 3 target depth valid and landing pixel on its mask, 4 not occluded. A depth is valid if it is finite and > 0.
#pragma once

#include <cstdint>

#include "common/dtype.h"
#include "common/isa.h"

namespace refkp {

enum class FlowRule : int { nearest = 0, nearest_twosided = 1, quad = 2, bilinear_relative = 3 };

enum FlowFlag : int {
  flow_source_valid = 1,
  flow_in_front = 2,
  flow_inside = 4,
  flow_target_valid = 8,
  flow_not_occluded = 16
};

constexpr double flow_z_near = 1e-6;
constexpr double flow_relative_z_shift = 1e-4;  // bilinear_relative divides by Z + 1e-4, as the dense matchers do

// The depth images of one side, their masks and cameras. Planes are contiguous inside; strides between them are in
// elements, may be 0, and over S are read for the target alone.
struct FlowImages {
  const void* depth;    // [B,H,W] of the source, [B,S,Ht,Wt] of the target
  const uint8_t* mask;  // as `depth`, or null
  const double* K;      // [B,3,3] or [B,S,3,3], contiguous
  int32_t height, width;
  int64_t depth_stride_b, depth_stride_s;
  int64_t mask_stride_b, mask_stride_s;
};

struct FlowProblem {
  FlowImages src, dst;
  const double* dst_from_src;  // [B,S,4,4], contiguous
  int64_t batch, targets;      // B, S
  FlowRule rule;
  double tol_abs, tol_rel, tol_px;  // tolerance at depth Z: tol_abs + (tol_rel + tol_px / fx_dst) Z
  double pixel_offset;
};

// Writes uv [B,S,H,W,2], float64 for float64 depth, else float32, and flags [B,S,H,W]; both contiguous.
REFKP_DECLARE_PER_ISA(
  void flow_gt(DType dtype, const FlowProblem& problem, void* uv, uint8_t* flags, int threads);
)

namespace cuda {
// float32, float16 or bfloat16 depth. All pointers are to device memory.
void flow_gt(DType dtype, const FlowProblem& problem, float* uv, uint8_t* flags, void* stream);
}  // namespace cuda

}  // namespace refkp
