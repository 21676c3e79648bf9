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
#include "warp/affine_warp.h"
#include "warp/equivariance_loss.h"

namespace py = pybind11;
using namespace refkp;

namespace {

template <typename T>
T* pointer(uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

using NoGil = py::call_guard<py::gil_scoped_release>;

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
  py::class_<AffineWarpShape>(m, "AffineWarpShape")
      .def(py::init([](int64_t b, int64_t c, int64_t ih, int64_t iw, int64_t oh, int64_t ow) {
        return AffineWarpShape{b, c, ih, iw, oh, ow};
      }));
  m.def("affine_warp_cpu", [](uintptr_t image, uintptr_t theta, bool inverse, uintptr_t fill, AffineWarpShape shape,
                              uintptr_t out, const std::string& dtype, int threads) {
    REFKP_CALL_BEST(affine_warp, dtype_from_name(dtype), pointer<void>(image), pointer<double>(theta), inverse,
                    pointer<double>(fill), shape, pointer<void>(out), threads);
  }, py::arg("image"), py::arg("theta"), py::arg("inverse"), py::arg("fill"), py::arg("shape"), py::arg("out"),
     py::arg("dtype"), py::arg("threads"), NoGil());
  m.def("affine_warp_backward_cpu", [](uintptr_t grad_out, uintptr_t image, uintptr_t theta, bool inverse, uintptr_t fill,
                                       AffineWarpShape shape, uintptr_t grad_image, uintptr_t grad_theta,
                                       const std::string& dtype, int threads) {
    REFKP_CALL_BEST(affine_warp_backward, dtype_from_name(dtype), pointer<void>(grad_out), pointer<void>(image),
                    pointer<double>(theta), inverse, pointer<double>(fill), shape, pointer<void>(grad_image),
                    pointer<double>(grad_theta), threads);
  }, py::arg("grad_out"), py::arg("image"), py::arg("theta"), py::arg("inverse"), py::arg("fill"), py::arg("shape"),
     py::arg("grad_image"), py::arg("grad_theta"), py::arg("dtype"), py::arg("threads"), NoGil());
#ifdef REFKP_HAS_CUDA
  m.def("affine_warp_cuda", [](uintptr_t image, uintptr_t theta, bool inverse, uintptr_t fill, AffineWarpShape shape,
                               uintptr_t out, const std::string& dtype, uintptr_t stream) {
    cuda::affine_warp(dtype_from_name(dtype), pointer<void>(image), pointer<double>(theta), inverse, pointer<double>(fill),
                      shape, pointer<void>(out), pointer<void>(stream));
  }, py::arg("image"), py::arg("theta"), py::arg("inverse"), py::arg("fill"), py::arg("shape"), py::arg("out"),
     py::arg("dtype"), py::arg("stream"), NoGil());
  m.def("affine_warp_backward_cuda", [](uintptr_t grad_out, uintptr_t image, uintptr_t theta, bool inverse, uintptr_t fill,
                                        AffineWarpShape shape, uintptr_t grad_image, uintptr_t grad_theta,
                                        uintptr_t workspace, const std::string& dtype, uintptr_t stream) {
    cuda::affine_warp_backward(dtype_from_name(dtype), pointer<void>(grad_out), pointer<void>(image), pointer<double>(theta),
                               inverse, pointer<double>(fill), shape, pointer<void>(grad_image), pointer<double>(grad_theta),
                               pointer<double>(workspace), pointer<void>(stream));
  }, py::arg("grad_out"), py::arg("image"), py::arg("theta"), py::arg("inverse"), py::arg("fill"), py::arg("shape"),
     py::arg("grad_image"), py::arg("grad_theta"), py::arg("workspace"), py::arg("dtype"), py::arg("stream"), NoGil());
#endif

  // ---- equivariance_loss ----
  py::class_<EquivarianceShape>(m, "EquivarianceShape")
      .def(py::init([](int64_t b, int64_t k, int64_t h, int64_t w) { return EquivarianceShape{b, k, h, w}; }));
  m.def("equivariance_loss_cpu", [](uintptr_t maps, uintptr_t maps_warped, uintptr_t theta, bool coverage,
                                    EquivarianceShape shape, uintptr_t loss, uintptr_t denominator,
                                    const std::string& dtype, int threads) {
    REFKP_CALL_BEST(equivariance_loss, dtype_from_name(dtype), pointer<void>(maps), pointer<void>(maps_warped),
                    pointer<double>(theta), coverage, shape, pointer<double>(loss), pointer<double>(denominator), threads);
  }, py::arg("maps"), py::arg("maps_warped"), py::arg("theta"), py::arg("coverage"), py::arg("shape"), py::arg("loss"),
     py::arg("denominator"), py::arg("dtype"), py::arg("threads"), NoGil());
  m.def("equivariance_loss_backward_cpu", [](uintptr_t maps, uintptr_t maps_warped, uintptr_t theta, bool coverage,
                                             uintptr_t grad_item, EquivarianceShape shape, uintptr_t grad_maps,
                                             uintptr_t grad_maps_warped, const std::string& dtype, int threads) {
    REFKP_CALL_BEST(equivariance_loss_backward, dtype_from_name(dtype), pointer<void>(maps), pointer<void>(maps_warped),
                    pointer<double>(theta), coverage, pointer<double>(grad_item), shape, pointer<void>(grad_maps),
                    pointer<void>(grad_maps_warped), threads);
  }, py::arg("maps"), py::arg("maps_warped"), py::arg("theta"), py::arg("coverage"), py::arg("grad_item"), py::arg("shape"),
     py::arg("grad_maps"), py::arg("grad_maps_warped"), py::arg("dtype"), py::arg("threads"), NoGil());
#ifdef REFKP_HAS_CUDA
  m.def("equivariance_loss_cuda", [](uintptr_t maps, uintptr_t maps_warped, uintptr_t theta, bool coverage,
                                     EquivarianceShape shape, uintptr_t loss, uintptr_t denominator, uintptr_t workspace,
                                     const std::string& dtype, uintptr_t stream) {
    cuda::equivariance_loss(dtype_from_name(dtype), pointer<void>(maps), pointer<void>(maps_warped),
                            pointer<double>(theta), coverage, shape, pointer<double>(loss), pointer<double>(denominator),
                            pointer<double>(workspace), pointer<void>(stream));
  }, py::arg("maps"), py::arg("maps_warped"), py::arg("theta"), py::arg("coverage"), py::arg("shape"), py::arg("loss"),
     py::arg("denominator"), py::arg("workspace"), py::arg("dtype"), py::arg("stream"), NoGil());
  m.def("equivariance_loss_backward_cuda", [](uintptr_t maps, uintptr_t maps_warped, uintptr_t theta, bool coverage,
                                              uintptr_t grad_item, EquivarianceShape shape, uintptr_t grad_maps,
                                              uintptr_t grad_maps_warped, uintptr_t workspace, const std::string& dtype,
                                              uintptr_t stream) {
    cuda::equivariance_loss_backward(dtype_from_name(dtype), pointer<void>(maps), pointer<void>(maps_warped),
                                     pointer<double>(theta), coverage, pointer<double>(grad_item), shape,
                                     pointer<void>(grad_maps), pointer<void>(grad_maps_warped), pointer<void>(workspace),
                                     pointer<void>(stream));
  }, py::arg("maps"), py::arg("maps_warped"), py::arg("theta"), py::arg("coverage"), py::arg("grad_item"), py::arg("shape"),
     py::arg("grad_maps"), py::arg("grad_maps_warped"), py::arg("workspace"), py::arg("dtype"), py::arg("stream"), NoGil());
#endif

  // ---- e2p ----

  // ---- vicreg ----
  py::class_<VICRegProblem>(m, "VICRegProblem")
      .def(py::init([](uintptr_t x, uintptr_t y, uintptr_t offsets, int64_t num_segments, int64_t dim, double gamma,
                       double eps, bool unbiased, const std::string& dtype) {
        return VICRegProblem{pointer<void>(x), pointer<void>(y), pointer<int64_t>(offsets), num_segments, dim, gamma,
                             eps, unbiased, dtype_from_name(dtype)};
      }), py::kw_only(), py::arg("x"), py::arg("y"), py::arg("offsets"), py::arg("num_segments"), py::arg("dim"),
         py::arg("gamma"), py::arg("eps"), py::arg("unbiased"), py::arg("dtype"));
  m.def("vicreg_cpu", [](const VICRegProblem& problem, uintptr_t terms, int threads) {
    REFKP_CALL_BEST(vicreg, problem, pointer<void>(terms), threads);
  }, py::arg("problem"), py::arg("terms"), py::arg("threads"), NoGil());
  m.def("vicreg_backward_cpu", [](const VICRegProblem& problem, uintptr_t weights, uintptr_t grad_x, uintptr_t grad_y,
                                  int threads) {
    REFKP_CALL_BEST(vicreg_backward, problem, pointer<void>(weights), pointer<void>(grad_x), pointer<void>(grad_y),
                    threads);
  }, py::arg("problem"), py::arg("weights"), py::arg("grad_x"), py::arg("grad_y"), py::arg("threads"), NoGil());
#ifdef REFKP_HAS_CUDA
  py::class_<VICRegScratch>(m, "VICRegScratch")
      .def(py::init([](uintptr_t moments, uintptr_t partial, uintptr_t gram, uintptr_t gram_offsets, int64_t max_rows) {
        return VICRegScratch{pointer<float>(moments), pointer<double>(partial), pointer<float>(gram),
                             pointer<int64_t>(gram_offsets), max_rows};
      }), py::kw_only(), py::arg("moments"), py::arg("partial"), py::arg("gram"), py::arg("gram_offsets"),
         py::arg("max_rows"));
  m.def("vicreg_partials", &cuda::vicreg_partials, py::arg("num_segments"), py::arg("dim"), py::arg("max_rows"));
  m.def("vicreg_cuda", [](const VICRegProblem& problem, const VICRegScratch& scratch, uintptr_t terms,
                          uintptr_t stream) {
    cuda::vicreg(problem, scratch, pointer<float>(terms), pointer<void>(stream));
  }, py::arg("problem"), py::arg("scratch"), py::arg("terms"), py::arg("stream"), NoGil());
  m.def("vicreg_backward_cuda", [](const VICRegProblem& problem, const VICRegScratch& scratch, uintptr_t weights,
                                   uintptr_t grad_x, uintptr_t grad_y, uintptr_t stream) {
    cuda::vicreg_backward(problem, scratch, pointer<float>(weights), pointer<void>(grad_x), pointer<void>(grad_y),
                         pointer<void>(stream));
  }, py::arg("problem"), py::arg("scratch"), py::arg("weights"), py::arg("grad_x"), py::arg("grad_y"),
     py::arg("stream"), NoGil());
#endif

  // ---- flow_gt ----
}
