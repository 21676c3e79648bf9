// affine_warp: bilinear warp of [B,C,H,W] by theta [B,2,3], zeros (or a fill value, blended by coverage) outside.
//
//   out[b,c,i,j] = sum over the four neighbours q of (px, py) of w_q image[b,c,q] + (1 - sum of the w_q inside) fill[c]
//
// image, out and the gradients are contiguous; theta [B,6] and grad_theta [B,6] are float64. `fill` is [C] or null.
#pragma once

#include <cstdint>

#include "common/dtype.h"
#include "common/isa.h"

namespace refkp {

struct AffineWarpShape {
  int64_t batch, channels;
  int64_t in_height, in_width;
  int64_t out_height, out_width;
};

REFKP_DECLARE_PER_ISA(
  void affine_warp(DType dtype, const void* image, const double* theta, bool inverse, const double* fill,
                   const AffineWarpShape& shape, void* out, int threads);

  // grad_image and grad_theta are written, not added to; either may be null.
  void affine_warp_backward(DType dtype, const void* grad_out, const void* image, const double* theta, bool inverse,
                            const double* fill, const AffineWarpShape& shape, void* grad_image, double* grad_theta,
                            int threads);
)

namespace cuda {
void affine_warp(DType dtype, const void* image, const double* theta, bool inverse, const double* fill,
                 const AffineWarpShape& shape, void* out, void* stream);

// The doubles of `workspace` that the gradient of theta needs.
int64_t affine_warp_partials(const AffineWarpShape& shape);
void affine_warp_backward(DType dtype, const void* grad_out, const void* image, const double* theta, bool inverse,
                          const double* fill, const AffineWarpShape& shape, void* grad_image, double* grad_theta,
                          double* workspace, void* stream);
}  // namespace cuda

}  // namespace refkp
