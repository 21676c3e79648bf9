// equivariance_loss: per item b of maps A and A' [B,K,H,W], with B' = A' warped by theta^-1 and W its coverage,
//
//   plain:    loss[b] = sum over k,p of (A - B')^2 / (K H W)
//   coverage: loss[b] = sum over k,p of (W A - B')^2 / (K sum over p of W)
//
// in one pass that stores nothing but `denominator` [B], the K H W or K sum W above. A denominator of zero (nothing of
// A' returns into the frame) gives loss 0. All tensors are contiguous; theta [B,6], loss, denominator are float64.
#pragma once

#include <cstdint>

#include "common/dtype.h"
#include "common/isa.h"

namespace refkp {

struct EquivarianceShape {
  int64_t batch, channels, height, width;
};

REFKP_DECLARE_PER_ISA(
  void equivariance_loss(DType dtype, const void* maps, const void* maps_warped, const double* theta, bool coverage,
                         const EquivarianceShape& shape, double* loss, double* denominator, int threads);

  // grad_item [B] is dL/dloss[b] * 2 / denominator[b]. Both gradients are written, not added to.
  void equivariance_loss_backward(DType dtype, const void* maps, const void* maps_warped, const double* theta,
                                  bool coverage, const double* grad_item, const EquivarianceShape& shape,
                                  void* grad_maps, void* grad_maps_warped, int threads);
)

namespace cuda {
// The doubles of `workspace` that the forward pass needs.
int64_t equivariance_loss_partials(const EquivarianceShape& shape);
void equivariance_loss(DType dtype, const void* maps, const void* maps_warped, const double* theta, bool coverage,
                       const EquivarianceShape& shape, double* loss, double* denominator, double* workspace, void* stream);

// `workspace` is as large as `maps`, of its dtype.
void equivariance_loss_backward(DType dtype, const void* maps, const void* maps_warped, const double* theta, bool coverage,
                                const double* grad_item, const EquivarianceShape& shape, void* grad_maps,
                                void* grad_maps_warped, void* workspace, void* stream);
}  // namespace cuda

}  // namespace refkp
