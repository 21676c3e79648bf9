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
#include "vicreg/vicreg.h"

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

VICRegProblem vicreg_problem(uintptr_t x, uintptr_t y, uintptr_t offsets, int64_t num_segments, int64_t dim,
                             double gamma, double eps, bool unbiased, const std::string& dtype) {
  return {reinterpret_cast<const void*>(x), reinterpret_cast<const void*>(y), reinterpret_cast<const int64_t*>(offsets),
          num_segments, dim, gamma, eps, unbiased, dtype_from_name(dtype)};
}

#ifdef REFKP_HAS_CUDA
VICRegScratch vicreg_scratch(uintptr_t moments, uintptr_t partial, uintptr_t gram, uintptr_t gram_offsets,
                             int64_t max_rows) {
  return {reinterpret_cast<float*>(moments), reinterpret_cast<double*>(partial), reinterpret_cast<float*>(gram),
          reinterpret_cast<const int64_t*>(gram_offsets), max_rows};
}
#endif

}  // namespace

PYBIND11_MODULE(_C, m) {
  m.doc() = "Compiled kernels of refkp. Use refkp.ops instead of calling these.";
  m.def("build_info", &build_info);

  // ---- affine_warp ----

  // ---- equivariance_loss ----

  // ---- e2p ----

  // ---- vicreg ----
  py::class_<VICRegProblem>(m, "VICRegProblem")
      .def(py::init(&vicreg_problem), py::kw_only(), py::arg("x"), py::arg("y"), py::arg("offsets"),
           py::arg("num_segments"), py::arg("dim"), py::arg("gamma"), py::arg("eps"), py::arg("unbiased"),
           py::arg("dtype"));
  m.def(
      "vicreg_cpu",
      [](const VICRegProblem& problem, uintptr_t terms, int threads) {
        REFKP_CALL_BEST(vicreg_cpu, problem, reinterpret_cast<void*>(terms), threads);
      },
      py::arg("problem"), py::arg("terms"), py::arg("threads"), py::call_guard<py::gil_scoped_release>());
  m.def(
      "vicreg_backward_cpu",
      [](const VICRegProblem& problem, uintptr_t weights, uintptr_t grad_x, uintptr_t grad_y, int threads) {
        REFKP_CALL_BEST(vicreg_backward_cpu, problem, reinterpret_cast<const void*>(weights),
                        reinterpret_cast<void*>(grad_x), reinterpret_cast<void*>(grad_y), threads);
      },
      py::arg("problem"), py::arg("weights"), py::arg("grad_x"), py::arg("grad_y"), py::arg("threads"),
      py::call_guard<py::gil_scoped_release>());
#ifdef REFKP_HAS_CUDA
  py::class_<VICRegScratch>(m, "VICRegScratch")
      .def(py::init(&vicreg_scratch), py::kw_only(), py::arg("moments"), py::arg("partial"), py::arg("gram"),
           py::arg("gram_offsets"), py::arg("max_rows"));
  m.def("vicreg_cuda_partials", &vicreg_cuda_partials, py::arg("num_segments"), py::arg("dim"), py::arg("max_rows"));
  m.def(
      "vicreg_cuda",
      [](const VICRegProblem& problem, const VICRegScratch& scratch, uintptr_t terms, uintptr_t stream) {
        vicreg_cuda(problem, scratch, reinterpret_cast<float*>(terms), reinterpret_cast<void*>(stream));
      },
      py::arg("problem"), py::arg("scratch"), py::arg("terms"), py::arg("stream"),
      py::call_guard<py::gil_scoped_release>());
  m.def(
      "vicreg_backward_cuda",
      [](const VICRegProblem& problem, const VICRegScratch& scratch, uintptr_t weights, uintptr_t grad_x,
         uintptr_t grad_y, uintptr_t stream) {
        vicreg_backward_cuda(problem, scratch, reinterpret_cast<const float*>(weights),
                             reinterpret_cast<void*>(grad_x), reinterpret_cast<void*>(grad_y),
                             reinterpret_cast<void*>(stream));
      },
      py::arg("problem"), py::arg("scratch"), py::arg("weights"), py::arg("grad_x"), py::arg("grad_y"),
      py::arg("stream"), py::call_guard<py::gil_scoped_release>());
#endif

  // ---- flow_gt ----
}
