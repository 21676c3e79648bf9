// Every entry point of refkp._C in one place.
//
// Python hands over raw pointers as integers, sizes, strides in elements, a dtype name, and a thread count (CPU) or a
// stream handle (CUDA). Shapes and dtypes were checked by refkp.ops; nothing is checked again here.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <string>
#include <thread>

#include "common/dtype.h"
#include "common/isa.h"
#include "warp/e2p.h"

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

// ---- e2p ----

// sizes: images, tiles, channels, ERP height and width, tile height and width; strides of the ERP images [B,C,H,W].
E2pGeometry e2p_geometry(uintptr_t rays, uintptr_t samples, uintptr_t image_index, const std::array<int64_t, 7>& sizes,
                         const std::array<int64_t, 4>& strides, bool equilib, bool nearest) {
  return {sizes[0],   sizes[1],   sizes[2],   sizes[3], sizes[4], sizes[5],
          sizes[6],   strides[0], strides[1], strides[2], strides[3], equilib,
          nearest,    reinterpret_cast<const double*>(rays), reinterpret_cast<const int64_t*>(samples),
          reinterpret_cast<const int64_t*>(image_index)};
}

}  // namespace

PYBIND11_MODULE(_C, m) {
  m.doc() = "Compiled kernels of refkp. Use refkp.ops instead of calling these.";
  m.def("build_info", &build_info);

  // ---- affine_warp ----

  // ---- equivariance_loss ----

  // ---- e2p ----
  py::class_<E2pGeometry>(m, "E2pGeometry")
      .def(py::init(&e2p_geometry), py::kw_only(), py::arg("rays"), py::arg("samples"), py::arg("image_index"),
           py::arg("sizes"), py::arg("strides"), py::arg("equilib"), py::arg("nearest"));
  m.def(
      "e2p_cpu",
      [](uintptr_t erp, uintptr_t out, const E2pGeometry& geometry, const std::string& dtype, int threads) {
        REFKP_CALL_BEST(e2p_cpu, dtype_from_name(dtype), reinterpret_cast<const void*>(erp),
                        reinterpret_cast<void*>(out), geometry, threads);
      },
      py::arg("erp"), py::arg("out"), py::arg("geometry"), py::kw_only(), py::arg("dtype"), py::arg("threads"),
      py::call_guard<py::gil_scoped_release>());
  m.def(
      "e2p_backward_cpu",
      [](uintptr_t grad_out, uintptr_t grad_erp, const E2pGeometry& geometry, const std::string& dtype, int threads) {
        REFKP_CALL_BEST(e2p_backward_cpu, dtype_from_name(dtype), reinterpret_cast<const void*>(grad_out),
                        reinterpret_cast<void*>(grad_erp), geometry, threads);
      },
      py::arg("grad_out"), py::arg("grad_erp"), py::arg("geometry"), py::kw_only(), py::arg("dtype"),
      py::arg("threads"), py::call_guard<py::gil_scoped_release>());
#ifdef REFKP_HAS_CUDA
  m.def(
      "e2p_cuda",
      [](uintptr_t erp, uintptr_t out, const E2pGeometry& geometry, const std::string& dtype, uintptr_t stream) {
        e2p_cuda(dtype_from_name(dtype), reinterpret_cast<const void*>(erp), reinterpret_cast<void*>(out), geometry,
                 stream);
      },
      py::arg("erp"), py::arg("out"), py::arg("geometry"), py::kw_only(), py::arg("dtype"), py::arg("stream"),
      py::call_guard<py::gil_scoped_release>());
  m.def(
      "e2p_backward_cuda",
      [](uintptr_t grad_out, uintptr_t grad_erp, uintptr_t sums, uintptr_t scale, const E2pGeometry& geometry,
         const std::string& dtype, uintptr_t stream) {
        e2p_backward_cuda(dtype_from_name(dtype), reinterpret_cast<const void*>(grad_out),
                          reinterpret_cast<void*>(grad_erp), reinterpret_cast<int64_t*>(sums),
                          reinterpret_cast<const double*>(scale), geometry, stream);
      },
      py::arg("grad_out"), py::arg("grad_erp"), py::arg("sums"), py::arg("scale"), py::arg("geometry"), py::kw_only(),
      py::arg("dtype"), py::arg("stream"), py::call_guard<py::gil_scoped_release>());
#endif

  // ---- vicreg ----

  // ---- flow_gt ----
}
