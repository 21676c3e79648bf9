// The contract of e2p: perspective tiles cut from equirectangular (ERP) images.
//
// A pixel (column c, row r) of tile n looks along d = M_n (c, r, 1), a direction with x right, y up, z forward; M_n is
// `rays[n]`, the tile's rotation times the map from pixels to tangents. The ERP index of d is
//   column = (lon / 2 pi + 1/2) W + shift,  row = (1/2 - lat / pi) H + shift,  lon = atan2(x, z),  lat = atan2(y, |(x, z)|),
// where integers are pixel centres and shift is -1/2, or +1/2 in the equilib convention. Columns wrap modulo W. Beyond
// the first and last row lies the same row half a turn away; equilib clamps rows to [0, H-1] instead.
// With samples[n] = s > 1 a pixel is the mean of s x s such samples, spread evenly over the pixel's square.
#pragma once

#include <cstdint>

#include "common/dtype.h"
#include "common/isa.h"

namespace refkp {

struct E2pGeometry {
  int64_t num_images, num_tiles, num_channels, erp_height, erp_width, height, width;
  int64_t stride_image, stride_channel, stride_row, stride_column;  // of the ERP images or their gradient, in elements
  bool equilib, nearest;
  const double* rays;          // [num_tiles, 3, 3]
  const int64_t* samples;      // [num_tiles], at least 1
  const int64_t* image_index;  // [num_tiles]
};

// Requires: (erp_height - 1) stride_row + (erp_width - 1) stride_column < 2^31; erp_height, erp_width < 2^28; an even
// erp_width unless equilib. `out` and `grad_out` are contiguous [num_tiles, num_channels, height, width].

// dtype of `erp`: uint8, float32 or float64; `out` has that dtype, float32 for uint8. Rays and indices must be valid.
REFKP_DECLARE_PER_ISA(
    void e2p(DType dtype, const void* erp, const E2pGeometry& geometry, void* out, int threads);)

// float32 or float64; overwrites the whole contiguous `grad_erp` [num_images, num_channels, erp_height, erp_width]. The
// sum at an ERP pixel runs in the order of tiles and tile pixels, whatever `threads` is.
REFKP_DECLARE_PER_ISA(
    void e2p_backward(DType dtype, const void* grad_out, const E2pGeometry& geometry, void* grad_erp, int threads);)

namespace cuda {

// dtype of `erp`: uint8, float16, bfloat16 or float32. A tile with non-finite rays or an index out of range gives NaN.
void e2p(DType dtype, const void* erp, const E2pGeometry& geometry, void* out, void* stream);

// float16, bfloat16 or float32. `sums` is zeroed int64 [num_images, num_channels, erp_height, erp_width]; `scale` is one
// double on the device, a power of two such that no sum of gradients times scale can overflow, or NaN to fill with NaN.
void e2p_backward(DType dtype, const void* grad_out, const E2pGeometry& geometry, int64_t* sums, const double* scale,
                  void* grad_erp, void* stream);

}  // namespace cuda
}  // namespace refkp
