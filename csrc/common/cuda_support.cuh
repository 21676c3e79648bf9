// What every CUDA kernel file needs: element types, launch checks, dispatch over dtypes.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <stdexcept>
#include <string>

#include "common/dtype.h"

namespace refkp {
namespace cuda {

// Storage may be half or bfloat16; arithmetic is float.
__device__ __forceinline__ float to_float(float value) { return value; }
__device__ __forceinline__ float to_float(__half value) { return __half2float(value); }
__device__ __forceinline__ float to_float(__nv_bfloat16 value) { return __bfloat162float(value); }
__device__ __forceinline__ float to_float(uint8_t value) { return static_cast<float>(value); }

template <typename T>
__device__ __forceinline__ T from_float(float value);
template <>
__device__ __forceinline__ float from_float<float>(float value) { return value; }
template <>
__device__ __forceinline__ __half from_float<__half>(float value) { return __float2half_rn(value); }
template <>
__device__ __forceinline__ __nv_bfloat16 from_float<__nv_bfloat16>(float value) { return __float2bfloat16_rn(value); }

// Launch errors surface in Python as RuntimeError.
inline void check_launch(const char* kernel) {
  const cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess)
    throw std::runtime_error(std::string("refkp: launching ") + kernel + " failed: " + cudaGetErrorString(error));
}

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// The size of a one-dimensional grid. Batches are flattened into it, since the other axes end at 65535 blocks.
inline unsigned int grid_size(int64_t blocks) {
  if (blocks > INT32_MAX)
    throw std::invalid_argument("refkp: " + std::to_string(blocks) + " CUDA blocks exceed the grid; split the batch.");
  return static_cast<unsigned int>(blocks);
}

// Calls body(T{}) with the storage type of `dtype`.
template <typename Body>
void dispatch_storage(DType dtype, const Body& body) {
  switch (dtype) {
    case DType::float32: return body(float{});
    case DType::float16: return body(__half{});
    case DType::bfloat16: return body(__nv_bfloat16{});
    default: throw std::invalid_argument("refkp._C: CUDA kernels take float32, float16 and bfloat16.");
  }
}

}  // namespace cuda
}  // namespace refkp
