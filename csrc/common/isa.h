// Instruction sets of the CPU kernels.
//
// Every *_cpu.cpp is compiled once per instruction set with REFKP_ISA set to its name, and its entry points live in the
// namespace of that name. A header declares them in all namespaces with REFKP_DECLARE_PER_ISA; a caller picks the best
// one that this processor has with REFKP_CALL_BEST.
#pragma once

namespace refkp {

enum class Isa { baseline = 0, avx2 = 1, avx512 = 2 };

// The best instruction set of this processor, or a lower one named by the environment variable REFKP_ISA.
// Throws std::runtime_error for a name that is unknown or that this processor lacks.
Isa active_isa();
const char* isa_name(Isa isa);

}  // namespace refkp

#if defined(__x86_64__) || defined(_M_X64)
#define REFKP_DECLARE_PER_ISA(...)        \
  namespace baseline { __VA_ARGS__ }      \
  namespace avx2 { __VA_ARGS__ }          \
  namespace avx512 { __VA_ARGS__ }
#define REFKP_CALL_BEST(function, ...)                                         \
  (::refkp::active_isa() == ::refkp::Isa::avx512 ? avx512::function(__VA_ARGS__) \
   : ::refkp::active_isa() == ::refkp::Isa::avx2 ? avx2::function(__VA_ARGS__)   \
                                                 : baseline::function(__VA_ARGS__))
#else
#define REFKP_DECLARE_PER_ISA(...) namespace baseline { __VA_ARGS__ }
#define REFKP_CALL_BEST(function, ...) baseline::function(__VA_ARGS__)
#endif
