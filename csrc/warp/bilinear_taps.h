// The four taps of a bilinear value, for the host and the device.
#pragma once

#include "common/host_device.h"

namespace refkp {
namespace {

// The weight of tap k at the fractions x and y of the way to the next pixel: right for k & 1, lower for k >> 1.
template <class Real>
REFKP_HOST_DEVICE_INLINE Real tap_weight(int k, Real x, Real y) {
  return ((k & 1) ? x : 1 - x) * ((k >> 1) ? y : 1 - y);
}

// The bilinear value of four taps by its definition: one without weight does not count, be it NaN.
template <class Real>
REFKP_HOST_DEVICE_INLINE Real weighted_sum(Real a, Real b, Real c, Real d, Real x, Real y) {
  const Real taps[4] = {a, b, c, d};
  Real sum = 0;
  for (int k = 0; k < 4; ++k) {
    const Real weight = tap_weight(k, x, y);
    if (weight != 0) sum += weight * taps[k];
  }
  return sum;
}

}  // namespace
}  // namespace refkp
