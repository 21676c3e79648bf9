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

// One call. Image planes are contiguous; strides between planes are in elements and may be 0.
struct FlowProblem {
  const void* depth_src;       // [B,H,W]
  const void* depth_dst;       // [B,S,Ht,Wt]
  const uint8_t* mask_src;     // [B,H,W] or null
  const uint8_t* mask_dst;     // [B,S,Ht,Wt] or null
  const double* K_src;         // [B,3,3]
  const double* K_dst;         // [B,S,3,3]
  const double* dst_from_src;  // [B,S,4,4]
  void* uv;                    // [B,S,H,W,2] float64 for float64 depth, else float32
  uint8_t* flags;              // [B,S,H,W]
  int64_t batch, targets;
  int32_t height, width, height_dst, width_dst;
  int64_t depth_src_stride, mask_src_stride;  // over B
  int64_t depth_dst_stride_b, depth_dst_stride_s, mask_dst_stride_b, mask_dst_stride_s;
  FlowRule rule;
  double tol_abs, tol_rel, tol_px;  // tolerance at depth Z: tol_abs + (tol_rel + tol_px / fx_dst) Z
  double pixel_offset;
};

REFKP_DECLARE_PER_ISA(void flow_gt_cpu(const FlowProblem& problem, DType dtype, int threads);)

void flow_gt_cuda(const FlowProblem& problem, DType dtype, uintptr_t stream);

}  // namespace refkp
