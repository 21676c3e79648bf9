// Small vector primitives of the CPU kernels, by instruction set. Each has a plain form that the caller uses otherwise.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace refkp {
namespace REFKP_ISA {
namespace {

#if defined(__AVX2__)

#define REFKP_HAS_FLOAT_PAIRS 1
constexpr int kPairLanes = 8;
using FloatLanes = __m256;

inline FloatLanes load_lanes(const float* from) { return _mm256_loadu_ps(from); }
inline void store_lanes(float* to, FloatLanes value) { _mm256_storeu_ps(to, value); }
inline FloatLanes subtract_lanes(FloatLanes a, FloatLanes b) { return _mm256_sub_ps(a, b); }
// a b + c
inline FloatLanes fma_lanes(FloatLanes a, FloatLanes b, FloatLanes c) { return _mm256_fmadd_ps(a, b, c); }
// a + w (b - a)
inline FloatLanes lerp_lanes(FloatLanes a, FloatLanes b, FloatLanes w) { return _mm256_fmadd_ps(w, _mm256_sub_ps(b, a), a); }

// Two pairs (base[o], base[o+1]) side by side.
inline __m128 load_two_pairs(const float* base, int32_t first, int32_t second) {
  double pair;  // two floats, which no pointer to double may name: they begin at any float
  std::memcpy(&pair, base + first, sizeof(pair));
  return _mm_loadh_pi(_mm_castpd_ps(_mm_set_sd(pair)), reinterpret_cast<const __m64*>(base + second));
}

// left[l] = base[offset[l]], right[l] = base[offset[l] + 1]. Plain 8-byte loads fetch both neighbours of a lane; the
// gather instructions were measured slower than even scalar code (one load a lane, and microcode around it).
inline void gather_pairs(const float* base, const int32_t* o, FloatLanes& left, FloatLanes& right) {
  const __m256 a = _mm256_insertf128_ps(_mm256_castps128_ps256(load_two_pairs(base, o[0], o[1])),
                                        load_two_pairs(base, o[4], o[5]), 1);
  const __m256 b = _mm256_insertf128_ps(_mm256_castps128_ps256(load_two_pairs(base, o[2], o[3])),
                                        load_two_pairs(base, o[6], o[7]), 1);
  left = _mm256_shuffle_ps(a, b, 0x88);
  right = _mm256_shuffle_ps(a, b, 0xDD);
}

#endif

}  // namespace
}  // namespace REFKP_ISA
}  // namespace refkp
