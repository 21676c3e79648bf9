// The contract of e2p: perspective tiles cut from equirectangular (ERP) images.
//
// A pixel (column c, row r) of tile n looks along d = M_n (c - centre_column, r - centre_row, 1), a direction with x right,
// y up, z forward; M_n is `rays[n]`, the tile's rotation times the map from pixels to tangents, which are 0 at the centre.
// Counted from there no digits cancel, so that a wide tile's direction keeps its relative accuracy. The ERP index of d is
//   column = (lon / 2 pi + 1/2) W + shift,  row = (1/2 - lat / pi) H + shift,  lon = atan2(x, z),  lat = atan2(y, |(x, z)|),
// where integers are pixel centres and shift is -1/2, or +1/2 in the equilib convention. Columns wrap modulo W. Beyond
// the first and last row lies the same row half a turn away; equilib clamps rows to [0, H-1] instead.
// With samples[n] = s > 1 a pixel is the mean of s x s such samples, spread evenly over the pixel's square.
//
// With num_levels > 0 a sample is read from a pyramid: level 0 is the ERP image, a pixel of level l the mean of the four of
// level l - 1 that it covers, down to level num_levels. A sample of tangents (t, u) takes the level
//   log2(side) - 1/2,  side = max(step_x sqrt(1 + u^2), step_y sqrt(1 + t^2)) / (1 + t^2 + u^2) max(W / 2 pi, H / pi) / s,
// clamped to [0, num_levels], linear between two levels: `side` is the longer side of what the sample covers on the
// sphere, in pixels of the equator.
#pragma once

#include <cstdint>

#include "common/dtype.h"
#include "common/isa.h"

namespace refkp {

struct E2pGeometry {
  int64_t num_images, num_tiles, num_channels, erp_height, erp_width, height, width;
  int64_t stride_image, stride_channel, stride_row, stride_column;  // of the ERP images or their gradient, in elements
  int64_t num_levels;  // of the pyramid beyond the ERP image; 2^num_levels divides erp_height and erp_width / 2
  double centre_column, centre_row;
  bool equilib, nearest;
  const double* rays;          // [num_tiles, 3, 3]
  const double* grid;          // [num_tiles, 4]: step and start of the tangents of columns, then of rows, growing down
  const int64_t* samples;      // [num_tiles], at least 1
  const int64_t* image_index;  // [num_tiles]
};

// Requires: (erp_height - 1) stride_row + (erp_width - 1) stride_column < 2^31; erp_height, erp_width < 2^28; an even
// erp_width unless equilib. `out` and `grad_out` are contiguous [num_tiles, num_channels, height, width].
// A `pyramid` is the levels 1 to num_levels, one after the other, each contiguous [num_images, num_channels,
// erp_height / 2^l, erp_width / 2^l]: float64 for float64 images, else float32. Without levels it is not read.

// Fills `pyramid` from `erp`; dtypes as in e2p.
REFKP_DECLARE_PER_ISA(
    void e2p_pyramid(DType dtype, const void* erp, const E2pGeometry& geometry, void* pyramid, int threads);)

// dtype of `erp`: uint8, float32 or float64; `out` has that dtype, float32 for uint8. Rays and indices must be valid.
REFKP_DECLARE_PER_ISA(
    void e2p(DType dtype, const void* erp, const void* pyramid, const E2pGeometry& geometry, void* out, int threads);)

// float32 or float64; overwrites the whole contiguous `grad_erp` [num_images, num_channels, erp_height, erp_width], and
// `grad_pyramid` on the way. The sum at a pixel runs in the order of tiles and tile pixels, whatever `threads` is.
REFKP_DECLARE_PER_ISA(
    void e2p_backward(DType dtype, const void* grad_out, const E2pGeometry& geometry, void* grad_pyramid, void* grad_erp,
                      int threads);)

namespace cuda {

// Fills `pyramid` (float32) from `erp`; dtypes as in e2p.
void e2p_pyramid(DType dtype, const void* erp, const E2pGeometry& geometry, void* pyramid, void* stream);

// dtype of `erp`: uint8, float16, bfloat16 or float32. A tile with non-finite rays or an index out of range gives NaN.
void e2p(DType dtype, const void* erp, const void* pyramid, const E2pGeometry& geometry, void* out, void* stream);

// float16, bfloat16 or float32. `sums` is zeroed int64 [num_images, num_channels, erp_height, erp_width], followed by a
// pyramid of the same; `scale` is one double on the device, a power of two such that no sum of gradients times scale can
// overflow, or NaN to fill with NaN.
void e2p_backward(DType dtype, const void* grad_out, const E2pGeometry& geometry, int64_t* sums, const double* scale,
                  void* grad_erp, void* stream);

}  // namespace cuda
}  // namespace refkp
