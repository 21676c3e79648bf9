#include "common/isa.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace refkp {
namespace {

Isa best_isa() {
#if defined(__x86_64__) || defined(_M_X64)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (avx512) return Isa::avx512;
  if (avx2) return Isa::avx2;
#endif
  return Isa::baseline;
}

Isa choose_isa() {
  const Isa best = best_isa();
  const char* wanted = std::getenv("REFKP_ISA");
  if (wanted == nullptr || *wanted == '\0') return best;
  for (Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512}) {
    if (std::string(wanted) != isa_name(isa)) continue;
    if (isa > best)
      throw std::runtime_error(std::string("REFKP_ISA=") + wanted + " but this processor offers at most " +
                               isa_name(best) + ". Unset REFKP_ISA.");
    return isa;
  }
  throw std::runtime_error(std::string("REFKP_ISA must be baseline, avx2 or avx512; got ") + wanted + ".");
}

}  // namespace

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::avx512: return "avx512";
    case Isa::avx2: return "avx2";
    default: return "baseline";
  }
}

Isa active_isa() {
  static const Isa isa = choose_isa();
  return isa;
}

}  // namespace refkp
