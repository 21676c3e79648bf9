// Every entry point of refkp._C in one place.
//
// Python hands over raw pointers as integers, sizes, strides in elements, a dtype name, and a thread count (CPU) or a
// stream handle (CUDA). Shapes and dtypes were checked by refkp.ops; nothing is checked again here.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <thread>

#include "common/dtype.h"
#include "common/isa.h"

namespace py = pybind11;
using namespace refkp;

namespace {

py::dict build_info() {
  py::dict info;
  info["version"] = REFKP_VERSION;
  info["compiler"] = REFKP_COMPILER;
  info["build_type"] = REFKP_BUILD_TYPE;
#ifdef REFKP_HAS_CUDA
  info["cuda"] = REFKP_CUDA_VERSION;
  info["cuda_architectures"] = REFKP_CUDA_ARCHS;
#else
  info["cuda"] = py::none();
  info["cuda_architectures"] = py::none();
#endif
  info["isa"] = isa_name(active_isa());
  return info;
}

}  // namespace

PYBIND11_MODULE(_C, m) {
  m.doc() = "Compiled kernels of refkp. Use refkp.ops instead of calling these.";
  m.def("build_info", &build_info);

  // ---- affine_warp ----

  // ---- equivariance_loss ----

  // ---- e2p ----

  // ---- vicreg ----

  // ---- flow_gt ----
}
