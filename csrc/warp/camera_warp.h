// camera_warp: undistort, crop and resize in one inverse warp (the map: camera_map.h).
//
//   out[b,c,i,j] = sum over the pixels q of the image of w_q image[b,c,q] + (1 - sum of the w_q) fill[c]
//
// where w is the integral of q's tent of bilinear interpolation over the footprint of pixel (j, i), which is linearised at
// its middle (find_footprint); a side of the footprint that is no longer than a pixel, and without antialias each side, is
// a sample. Where the middle is beyond the fold, out is the fill.
//
// out and the gradients are contiguous; the image has any strides. `fill` is [C] float64.
#pragma once

#include <cstdint>

#include "common/dtype.h"
#include "common/isa.h"

namespace refkp {

struct CameraWarpProblem {
  int64_t batch, channels, in_height, in_width, out_height, out_width;
  int64_t stride_image, stride_channel, stride_row, stride_column;  // of the image or its gradient, in elements
  bool antialias;
  const double* cameras;  // [batch, kCameraSize]
  const double* fill;     // [channels]
};

// Requires: (in_height - 1) stride_row + (in_width - 1) stride_column < 2^31, sides below 2^24.

// dtype of image and out: uint8 (rounded to the nearest, halves up), float32 or float64.
REFKP_DECLARE_PER_ISA(
    void camera_warp(DType dtype, const void* image, const CameraWarpProblem& problem, void* out, int threads);

    // float32 or float64; writes the whole contiguous `grad_image`. The sum at a pixel runs in the order of output
    // pixels, whatever `threads` is.
    void camera_warp_backward(DType dtype, const void* grad_out, const CameraWarpProblem& problem, void* grad_image,
                              int threads);)

namespace cuda {

// uint8, float16, bfloat16 or float32. A camera that is not finite gives the fill.
void camera_warp(DType dtype, const void* image, const CameraWarpProblem& problem, void* out, void* stream);

// `sums` is zeroed int64 of the size of the image; `scale` is one double on the device, a power of two such that no sum
// of gradients times scale can overflow, or NaN to fill with NaN.
void camera_warp_backward(DType dtype, const void* grad_out, const CameraWarpProblem& problem, int64_t* sums,
                          const double* scale, void* grad_image, void* stream);

}  // namespace cuda
}  // namespace refkp
