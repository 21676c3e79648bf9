// camera_warp on the CPU.
//
// Forward: items are rows of the output, which go in chunks of kChunk pixels (camera_window.h). A pixel reads what it covers
// of the image in strips of kLanes columns, which bounds the kernel: some ten vector operations for the weights of a strip,
// and a load and a multiplication a channel. Floats and bytes in planes are read as they lie; three or four interleaved
// channels are multiplied by weights that are repeated over the lanes of a column, and sorted out once a pixel.
// Backward: items are channels of images, because one thread alone scatters into a plane.
//
// 1. forward   2. backward   3. entry points (before them: camera_map.h, camera_window.h)
#include <cstring>

#include "common/compute.h"
#include "common/huge_pages.h"
#include "common/parallel.h"
#include "warp/camera_window.h"

namespace refkp {
namespace REFKP_ISA {
namespace {

constexpr int kChannels = 4;  // channels that share one computation of weights
constexpr int kAhead = 256;   // bytes; rows of planes are more streams than the processor foresees

// ---- 1. forward ----

// What a chunk has collected: weighted sums of pixels by channel, and the weights; before that, by lane.
template <class Real>
struct Sums {
  alignas(64) Real of[kChannels][kChunk], weight[kChunk];
  alignas(64) Real lanes[kChunk][kChannels * kLanes<Real>];
};

// Folds kColumns columns of kStep sums each onto the first column, always in the same order.
template <int kColumns, int kStep, class Real>
REFKP_INLINE void fold_columns(Real* lanes) {
  constexpr int kHalf = kColumns / 2 * kStep;
  for (int i = 0; i < kHalf; ++i) lanes[i] += lanes[i + kHalf];
  if constexpr (kColumns > 2) fold_columns<kColumns / 2, kStep>(lanes);
}

template <class T>
struct Forward {
  using Real = typename Compute<T>::Real;
  const CameraWarpProblem& p;
  const T* image;
  T* out;
  int interleaved;  // channels of a pixel that lie side by side: 3 or 4; 1 for planes; 0 for any other strides

  void fill_row(int64_t b, int64_t row) const {
    const Camera<Real> camera = load_camera<Real>(p.cameras + kCameraSize * b);
    const Readable to = interleaved == 0 ? Readable{0, 0} : find_readable<Real>(p, interleaved > 1 ? p.channels : 1);
    Windows<Real> windows;
    Sums<Real> sums;
    for (int64_t column = 0; column < p.out_width; column += kChunk) {
      const int count = static_cast<int>(p.out_width - column < kChunk ? p.out_width - column : kChunk);
      find_windows(p, camera, column, row, to, windows);
      for (int64_t first = 0; first < p.channels; first += kChannels) {
        const int channels = static_cast<int>(p.channels - first < kChannels ? p.channels - first : kChannels);
        const T* from = image + b * p.stride_image + first * p.stride_channel;
        add_windows(windows, from, channels, count, sums);
        write(sums, b, first, channels, column, row, count);
      }
    }
  }

  void add_windows(const Windows<Real>& windows, const T* from, int channels, int count, Sums<Real>& sums) const {
    if (interleaved == 3) return add_all<3, true>(windows, from, channels, count, sums);
    if (interleaved == 4) return add_all<4, true>(windows, from, channels, count, sums);
    if (channels == 1) return add_all<1, false>(windows, from, channels, count, sums);
    if (channels == 2) return add_all<2, false>(windows, from, channels, count, sums);
    if (channels == 3) return add_all<3, false>(windows, from, channels, count, sums);
    return add_all<4, false>(windows, from, channels, count, sums);
  }

  // Lanes are folded only when all are there: doing it at once would wait for each.
  template <int kParts, bool kInterleaved>
  void add_all(const Windows<Real>& windows, const T* from, int channels, int count, Sums<Real>& sums) const {
    for (int k = 0; k < count; ++k)
      if (windows.readable[k]) add_inner<kParts, kInterleaved>(windows, k, from, sums.lanes[k]);
    for (int k = 0; k < count; ++k) {
      sums.weight[k] = 1;
      if (!windows.readable[k] || !fold<kParts, kInterleaved>(channels, k, sums)) add_any(windows, k, from, channels, sums);
    }
  }

  // One window whose strips may be read to their end, by lane.
  template <int kParts, bool kInterleaved>
  REFKP_INLINE void add_inner(const Windows<Real>& windows, int k, const T* from, Real* lanes) const {
    const int64_t stride_row = p.stride_row, stride_channel = p.stride_channel;
    Lanes<Real> parts[kParts] = {};
    for_each_strip<true>(windows, k, 0, [&](int row, int64_t column, Lanes<Real> weight) {
      const T* at = from + row * stride_row + column * (kInterleaved ? kParts : 1);
      add_parts<kParts, kInterleaved>(at, stride_channel, weight, parts, std::make_integer_sequence<int, kParts>());
    });
    std::memcpy(lanes, parts, sizeof(parts));
  }

  // Returns false where a sum is not finite: what has no weight must not count then.
  template <int kParts, bool kInterleaved>
  REFKP_INLINE bool fold(int channels, int k, Sums<Real>& sums) const {
    Real* lanes = sums.lanes[k];
    if (kInterleaved) fold_columns<kLanes<Real>, kParts>(lanes);
    Real total = 0;
    for (int c = 0; c < channels; ++c) {
      Real* channel = kInterleaved ? lanes + c : lanes + c * kLanes<Real>;
      if (!kInterleaved) fold_columns<kLanes<Real>, 1>(channel);
      sums.of[c][k] = *channel;
      total += *channel;
    }
    return sizeof(T) == 1 || total - total == 0;
  }

  template <int kParts, bool kInterleaved, int... kPart>
  static REFKP_INLINE void add_parts(const T* at, int64_t stride_channel, Lanes<Real> weight, Lanes<Real>* parts,
                                     std::integer_sequence<int, kPart...>) {
    constexpr int64_t ahead = kAhead / sizeof(T);
    for (int part = 0; part < (kInterleaved ? 1 : kParts); ++part) __builtin_prefetch(at + part * stride_channel + ahead);
    ((parts[kPart] += kInterleaved ? repeat<Real, kParts, kPart>(weight) * load<Real>(at + kPart * kLanes<Real>)
                                   : weight * load<Real>(at + kPart * stride_channel)),
     ...);
  }

  // Any window of an image of any strides; reads only what has a weight.
  void add_any(const Windows<Real>& windows, int k, const T* from, int channels, Sums<Real>& sums) const {
    Lanes<Real> totals[kChannels] = {}, covered = {};
    for_each_strip<false>(windows, k, p.in_width, [&](int row, int64_t column, Lanes<Real> weight) {
      covered += weight;
      for (int c = 0; c < channels; ++c) {
        const T* at = from + c * p.stride_channel + row * p.stride_row + column * p.stride_column;
        Lanes<Real> values = {};
        for (int j = 0; j < kLanes<Real>; ++j)
          if (weight[j] != 0) values[j] = static_cast<Real>(at[j * p.stride_column]);
        totals[c] += weight * values;
      }
    });
    for (int c = 0; c < channels; ++c) sums.of[c][k] = total_of(totals[c]);
    if (!windows.inside[k]) sums.weight[k] = total_of(covered);
  }

  static Real total_of(Lanes<Real> value) {
    Real lanes[kLanes<Real>];
    store<Real>(lanes, value);
    fold_columns<kLanes<Real>, 1>(lanes);
    return lanes[0];
  }

  void write(const Sums<Real>& sums, int64_t b, int64_t first, int channels, int64_t column, int64_t row, int count) const {
    const int64_t plane = p.out_height * p.out_width;
    for (int c = 0; c < channels; ++c) {
      T* to = out + (b * p.channels + first + c) * plane + row * p.out_width + column;
      const Real fill = static_cast<Real>(p.fill[first + c]);
      for (int k = 0; k < count; ++k) to[k] = rounded(sums.of[c][k] + (1 - sums.weight[k]) * fill);
    }
  }

  static T rounded(Real value) {
    if constexpr (sizeof(T) > 1) return value;
    const Real nearest = value + Real(0.5);
    return static_cast<T>(nearest < 0 ? Real(0) : nearest < 255 ? nearest : Real(255));
  }
};

inline int count_interleaved(const CameraWarpProblem& p) {
  if (p.stride_column == 1) return 1;
  const bool together = p.channels <= p.stride_column && (p.channels == 1 || p.stride_channel == 1);
  return together && (p.stride_column == 3 || p.stride_column == 4) ? static_cast<int>(p.stride_column) : 0;
}

template <class T>
void forward(const void* image, const CameraWarpProblem& p, void* out, int threads) {
  const Forward<T> pass = {p, static_cast<const T*>(image), static_cast<T*>(out), count_interleaved(p)};
  prefer_huge_pages(out, sizeof(T) * static_cast<size_t>(p.batch * p.channels * p.out_height * p.out_width));
  parallel_for(p.batch * p.out_height, 4, threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) pass.fill_row(i / p.out_height, i % p.out_height);
  });
}

// ---- 2. backward ----

// Adds the gradient of one output pixel to a plane; what has no weight gets nothing, be the gradient NaN.
template <class Real>
void scatter(const Windows<Real>& windows, int k, Real grad, int64_t width, Real* plane) {
  if (windows.readable[k]) {
    for_each_strip<true>(windows, k, 0, [&](int row, int64_t column, Lanes<Real> weight) {
      Real* at = plane + row * width + column;
      const Lanes<Real> part = weight != 0 ? weight * grad : splat(Real(0));
      store<Real>(at, load<Real>(at) + part);
    });
  } else {
    for_each_strip<false>(windows, k, width, [&](int row, int64_t column, Lanes<Real> weight) {
      Real* at = plane + row * width + column;
      for (int j = 0; j < kLanes<Real>; ++j)
        if (weight[j] != 0) at[j] += weight[j] * grad;
    });
  }
}

template <class Real>
void backward_plane(const Real* grad_out, const CameraWarpProblem& p, int64_t b, Real* plane) {
  const Camera<Real> camera = load_camera<Real>(p.cameras + kCameraSize * b);
  std::memset(plane, 0, sizeof(Real) * static_cast<size_t>(p.in_height * p.in_width));
  Windows<Real> windows;
  for (int64_t row = 0; row < p.out_height; ++row) {
    for (int64_t column = 0; column < p.out_width; column += kChunk) {
      const int count = static_cast<int>(p.out_width - column < kChunk ? p.out_width - column : kChunk);
      find_windows(p, camera, column, row, find_readable<Real>(p, 1), windows);
      for (int k = 0; k < count; ++k) scatter(windows, k, grad_out[row * p.out_width + column + k], p.in_width, plane);
    }
  }
}

template <class Real>
void backward(const void* grad_out, const CameraWarpProblem& p, void* grad_image, int threads) {
  const int64_t in_plane = p.in_height * p.in_width, out_plane = p.out_height * p.out_width;
  prefer_huge_pages(grad_image, sizeof(Real) * static_cast<size_t>(p.batch * p.channels * in_plane));
  parallel_for(p.batch * p.channels, 1, threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      backward_plane(static_cast<const Real*>(grad_out) + i * out_plane, p, i / p.channels,
                     static_cast<Real*>(grad_image) + i * in_plane);
  });
}

}  // namespace

// ---- 3. entry points ----

void camera_warp(DType dtype, const void* image, const CameraWarpProblem& problem, void* out, int threads) {
  if (dtype == DType::uint8) forward<uint8_t>(image, problem, out, threads);
  else if (dtype == DType::float32) forward<float>(image, problem, out, threads);
  else forward<double>(image, problem, out, threads);
}

void camera_warp_backward(DType dtype, const void* grad_out, const CameraWarpProblem& problem, void* grad_image,
                          int threads) {
  if (dtype == DType::float32) backward<float>(grad_out, problem, grad_image, threads);
  else backward<double>(grad_out, problem, grad_image, threads);
}

}  // namespace REFKP_ISA
}  // namespace refkp
