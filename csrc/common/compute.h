// What images of an element type are computed in: double for double, else float.
#pragma once

namespace refkp {
namespace REFKP_ISA {
namespace {

template <class T>
struct Compute {
  using Real = float;
};
template <>
struct Compute<double> {
  using Real = double;
};

}  // namespace
}  // namespace REFKP_ISA
}  // namespace refkp
