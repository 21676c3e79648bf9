// Vectors as wide as the instruction set has them for all of our arithmetic: 32 bytes with AVX2, else 16.
//
// With the compiler's own vectors + - * / < and ?: work lane by lane; what is wider than the machine's vectors would be
// taken apart lane by lane.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#define REFKP_INLINE inline __attribute__((always_inline))

namespace refkp {
namespace REFKP_ISA {
namespace {

#if defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

template <class Real>
struct LaneTypes;
template <>
struct LaneTypes<float> {
  typedef float Values __attribute__((vector_size(kVectorBytes)));
  typedef int32_t Whole __attribute__((vector_size(kVectorBytes)));
  static constexpr int32_t kAllButSign = 0x7fffffff;
};
template <>
struct LaneTypes<double> {
  typedef double Values __attribute__((vector_size(kVectorBytes)));
  typedef int64_t Whole __attribute__((vector_size(kVectorBytes)));
  static constexpr int64_t kAllButSign = 0x7fffffffffffffff;
};

template <class Real>
using Whole = std::conditional_t<sizeof(Real) == 4, int32_t, int64_t>;
template <class Real>
using Lanes = typename LaneTypes<Real>::Values;
template <class Real>
using WholeLanes = typename LaneTypes<Real>::Whole;
template <class Real>
constexpr int kLanes = kVectorBytes / sizeof(Real);

template <class Real>
REFKP_INLINE Lanes<Real> splat(Real value) {
  return value - Lanes<Real>{};  // value + 0 would not be -0 for -0
}

template <class Real, int... kLane>
REFKP_INLINE Lanes<Real> count_up(std::integer_sequence<int, kLane...>) {
  return Lanes<Real>{static_cast<Real>(kLane)...};
}
// 0, 1, 2, ...
template <class Real>
REFKP_INLINE Lanes<Real> lane_numbers() {
  return count_up<Real>(std::make_integer_sequence<int, kLanes<Real>>());
}

template <class Real>
REFKP_INLINE Lanes<Real> magnitude(Lanes<Real> value) {
  return (Lanes<Real>)((WholeLanes<Real>)value & LaneTypes<Real>::kAllButSign);
}

// The smaller and the larger of two; the second where one is NaN. Compilers make compare and select of a constant.
#if defined(__AVX2__)
REFKP_INLINE Lanes<float> smaller(Lanes<float> a, Lanes<float> b) { return _mm256_min_ps(a, b); }
REFKP_INLINE Lanes<float> larger(Lanes<float> a, Lanes<float> b) { return _mm256_max_ps(a, b); }
REFKP_INLINE Lanes<double> smaller(Lanes<double> a, Lanes<double> b) { return _mm256_min_pd(a, b); }
REFKP_INLINE Lanes<double> larger(Lanes<double> a, Lanes<double> b) { return _mm256_max_pd(a, b); }
#else
template <class Values>
REFKP_INLINE Values smaller(Values a, Values b) { return a < b ? a : b; }
template <class Values>
REFKP_INLINE Values larger(Values a, Values b) { return a > b ? a : b; }
#endif

// Values must fit into an int of the size of Real.
template <class Real>
REFKP_INLINE Lanes<Real> floor_lanes(Lanes<Real> value) {
  const Lanes<Real> cut = __builtin_convertvector(__builtin_convertvector(value, WholeLanes<Real>), Lanes<Real>);
  return cut > value ? cut - 1 : cut;
}

// The next lanes of `from` in memory, as Real.
template <class Real, class T>
REFKP_INLINE Lanes<Real> load(const T* from) {
  Lanes<Real> value;
  if constexpr (sizeof(T) == sizeof(Real)) {
    std::memcpy(&value, from, sizeof(value));
  } else {
#if defined(__AVX2__)
    value = (Lanes<Real>)_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))));
#else
    for (int j = 0; j < kLanes<Real>; ++j) value[j] = static_cast<Real>(from[j]);
#endif
  }
  return value;
}

template <class Real>
REFKP_INLINE void store(Real* to, Lanes<Real> value) {
  std::memcpy(to, &value, sizeof(value));
}

// Lane l is lane (kPart kLanes + l) / kTimes of `value`: part kPart of the vectors that hold each lane kTimes over.
template <class Real, int kTimes, int kPart, int... kLane>
REFKP_INLINE Lanes<Real> repeat_lanes(Lanes<Real> value, std::integer_sequence<int, kLane...>) {
  return __builtin_shufflevector(value, value, ((kPart * kLanes<Real> + kLane) / kTimes)...);
}
template <class Real, int kTimes, int kPart>
REFKP_INLINE Lanes<Real> repeat(Lanes<Real> value) {
  if constexpr (kTimes == 1) return value;
  else return repeat_lanes<Real, kTimes, kPart>(value, std::make_integer_sequence<int, kLanes<Real>>());
}

}  // namespace
}  // namespace REFKP_ISA
}  // namespace refkp
