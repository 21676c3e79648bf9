// Functions that are compiled for the host and, by nvcc, for the device.
#pragma once

#ifdef __CUDACC__
#define REFKP_HOST_DEVICE __host__ __device__
#define REFKP_HOST_DEVICE_INLINE __host__ __device__ __forceinline__
#else
#define REFKP_HOST_DEVICE
#define REFKP_HOST_DEVICE_INLINE inline __attribute__((always_inline))
#endif
