// flow_gt on CUDA: one launch for all pairs.
//
// A thread owns one source pixel and walks a tile of kTile targets, so the source depth is read once per tile and the
// source ray's coordinates stay in registers. The block first folds the pairs of its tile in float64 into shared memory
// (twelve numbers each). The bound is memory: 4 bytes of source depth per tile, 8 + 1 bytes written per pixel and
// target, and the target depth, whose reads follow the smooth map and hit the caches. A matrix that is not finite gives
// a Z that fails every comparison, so such pairs come out as "not in front" without a check that would stall the stream.
#include "common/cuda_support.cuh"
#include "flow/flow_gt.h"
#include "flow/fold.h"

namespace refkp {
namespace cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kTile = 8;
constexpr float kLargest = 3.402823466e38f;

struct FloatMap {
  float m[12];
  float tol_slope;
};

__device__ bool is_depth(float d) { return d > 0.0f && d <= kLargest; }

// The target image of one pair; depth(x, y) is 0 outside the image and where the depth is invalid.
template <typename T>
struct Target {
  const T* plane;
  int width, height;

  __device__ float depth(int x, int y) const {
    if (x < 0 || x >= width || y < 0 || y >= height) return 0.0f;
    const float d = to_float(plane[static_cast<int64_t>(y) * width + x]);
    return is_depth(d) ? d : 0.0f;
  }
};

__device__ int judge_sample(float z, float sample, float tolerance, bool two_sided) {
  if (!(sample > 0.0f)) return 0;
  const float gap = two_sided ? fabsf(z - sample) : z - sample;
  return flow_target_valid | (gap <= tolerance ? flow_not_occluded : 0);
}

// Bits 3 and 4 by the rule, before the target mask. (x, y) is (u, v) in edge coordinates: pixel k covers [k, k + 1).
template <typename T>
__device__ int judge(const FlowProblem& p, const Target<T>& target, float x, float y, float z, float tol_slope) {
  const float tol_abs = static_cast<float>(p.tol_abs);
  const float tolerance = tol_abs + tol_slope * z;
  if (p.rule == FlowRule::nearest || p.rule == FlowRule::nearest_twosided) {
    const float sample = target.depth(static_cast<int>(x), static_cast<int>(y));
    return judge_sample(z, sample, tolerance, p.rule == FlowRule::nearest_twosided);
  }
  const float left = floorf(x - 0.5f), top = floorf(y - 0.5f);
  const float wx = x - 0.5f - left, wy = y - 0.5f - top;
  int flags = 0;
  float blend = 0.0f;
#pragma unroll
  for (int corner = 0; corner < 4; ++corner) {
    const int dx = corner & 1, dy = corner >> 1;
    const float sample = target.depth(static_cast<int>(left) + dx, static_cast<int>(top) + dy);
    flags |= judge_sample(z, sample, tolerance, true);
    blend += (dx ? wx : 1.0f - wx) * (dy ? wy : 1.0f - wy) * sample;
  }
  if (p.rule == FlowRule::quad) return flags;
  if (!(blend > 0.0f)) return 0;
  return flow_target_valid | (fabsf(z - blend) < tol_abs + tol_slope * blend ? flow_not_occluded : 0);
}

__device__ bool is_inside(const FlowProblem& p, float x, float y) {
  const float width = static_cast<float>(p.dst.width), height = static_cast<float>(p.dst.height);
  if (p.rule == FlowRule::bilinear_relative) return x > 0.0f && x < width - 1.0f && y > 0.0f && y < height - 1.0f;
  return x >= 0.0f && x < width && y >= 0.0f && y < height;
}

struct Landing {
  float u, v;
  int flags;
};

template <typename T>
__device__ Landing land(const FlowProblem& p, const FloatMap& pair, int64_t b, int64_t s, float x, float y, float d) {
  const float* m = pair.m;
  const float U = d * (m[0] * x + (m[1] * y + m[2])) + m[3];
  const float V = d * (m[4] * x + (m[5] * y + m[6])) + m[7];
  const float Z = d * (m[8] * x + (m[9] * y + m[10])) + m[11];
  if (!(Z > static_cast<float>(flow_z_near))) return {0.0f, 0.0f, 0};
  const bool relative = p.rule == FlowRule::bilinear_relative;
  const float reciprocal = 1.0f / (Z + (relative ? static_cast<float>(flow_relative_z_shift) : 0.0f));
  const float u = U * reciprocal, v = V * reciprocal;
  if (!(fabsf(u) <= kLargest && fabsf(v) <= kLargest)) return {0.0f, 0.0f, 0};
  const float to_edge = 0.5f - static_cast<float>(p.pixel_offset);
  const float x_edge = u + to_edge, y_edge = v + to_edge;
  if (!is_inside(p, x_edge, y_edge)) return {u, v, flow_in_front};
  const FlowImages& dst = p.dst;
  const int64_t plane = b * dst.depth_stride_b + s * dst.depth_stride_s;
  const Target<T> target = {static_cast<const T*>(dst.depth) + plane, dst.width, dst.height};
  int flags = judge(p, target, x_edge, y_edge, Z, pair.tol_slope);
  if (dst.mask != nullptr) {
    const uint8_t* mask = dst.mask + b * dst.mask_stride_b + s * dst.mask_stride_s;
    const int64_t pixel = static_cast<int64_t>(y_edge) * dst.width + static_cast<int64_t>(x_edge);
    if (mask[pixel] == 0) flags &= ~flow_target_valid;
  }
  return {u, v, flow_in_front | flow_inside | flags};
}

// Grid: pixel blocks, then target tiles, then B, flattened so that no axis meets its limit.
template <typename T>
__global__ void __launch_bounds__(kThreads) flow_gt_kernel(const FlowProblem p, int64_t pixel_blocks, int64_t tiles,
                                                           float2* __restrict__ uv, uint8_t* __restrict__ flags) {
  __shared__ FloatMap pairs[kTile];
  const FlowImages& src = p.src;
  const int64_t pixel = (blockIdx.x % pixel_blocks) * kThreads + threadIdx.x;
  const int64_t tile = (blockIdx.x / pixel_blocks) % tiles, b = blockIdx.x / pixel_blocks / tiles;
  const int64_t first = tile * kTile;
  const int count = static_cast<int>(p.targets - first < kTile ? p.targets - first : kTile);
  if (static_cast<int>(threadIdx.x) < count) {
    const PairMap pair = fold_pair(p, b, first + threadIdx.x);
    for (int k = 0; k < 12; ++k) pairs[threadIdx.x].m[k] = static_cast<float>(pair.map[k]);
    pairs[threadIdx.x].tol_slope = static_cast<float>(pair.tol_slope);
  }
  __syncthreads();
  const int64_t pixels = static_cast<int64_t>(src.height) * src.width;
  if (pixel >= pixels) return;
  const float offset = static_cast<float>(p.pixel_offset);
  const float x = static_cast<float>(pixel % src.width) + offset, y = static_cast<float>(pixel / src.width) + offset;
  const float d = to_float(static_cast<const T*>(src.depth)[b * src.depth_stride_b + pixel]);
  const bool masked = src.mask != nullptr && src.mask[b * src.mask_stride_b + pixel] == 0;
  const bool valid = is_depth(d) && !masked;
  for (int k = 0; k < count; ++k) {
    Landing landing = {0.0f, 0.0f, 0};
    if (valid) {
      landing = land<T>(p, pairs[k], b, first + k, x, y, d);
      landing.flags |= flow_source_valid;
    }
    const int64_t out = (b * p.targets + first + k) * pixels + pixel;
    uv[out] = make_float2(landing.u, landing.v);
    flags[out] = static_cast<uint8_t>(landing.flags);
  }
}

template <typename T>
void forward(const FlowProblem& p, float* uv, uint8_t* flags, cudaStream_t stream) {
  const int64_t pixel_blocks = ceil_div(static_cast<int64_t>(p.src.height) * p.src.width, kThreads);
  const int64_t tiles = ceil_div(p.targets, kTile);
  const unsigned int blocks = grid_size(p.batch * tiles * pixel_blocks);
  if (blocks == 0) return;
  flow_gt_kernel<T><<<blocks, kThreads, 0, stream>>>(p, pixel_blocks, tiles, reinterpret_cast<float2*>(uv), flags);
  check_launch("flow_gt");
}

}  // namespace

void flow_gt(DType dtype, const FlowProblem& problem, float* uv, uint8_t* flags, void* stream) {
  dispatch_storage(dtype, [&](auto storage) {
    forward<decltype(storage)>(problem, uv, flags, static_cast<cudaStream_t>(stream));
  });
}

}  // namespace cuda
}  // namespace refkp
