// Every entry point of refkp._C in one place.
//
// Python hands over raw pointers as integers, sizes, strides in elements, a dtype name, and a thread count (CPU) or a
// stream handle (CUDA), all by keyword; `_native.call` adds the last two. Shapes and dtypes were checked by refkp.ops;
// nothing is checked again here.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cstdint>
#include <string>

#include "common/dtype.h"
#include "common/isa.h"
#include "common/parallel.h"
#include "flow/flow_gt.h"
#include "vicreg/vicreg.h"
#include "warp/affine_warp.h"
#include "warp/camera_warp.h"
#include "warp/e2p.h"
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
  info["openmp"] = has_openmp();
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
  }, py::kw_only(), py::arg("image"), py::arg("theta"), py::arg("inverse"), py::arg("fill"), py::arg("shape"),
     py::arg("out"), py::arg("dtype"), py::arg("threads"), NoGil());
  m.def("affine_warp_backward_cpu", [](uintptr_t grad_out, uintptr_t image, uintptr_t theta, bool inverse, uintptr_t fill,
                                       AffineWarpShape shape, uintptr_t grad_image, uintptr_t grad_theta,
                                       const std::string& dtype, int threads) {
    REFKP_CALL_BEST(affine_warp_backward, dtype_from_name(dtype), pointer<void>(grad_out), pointer<void>(image),
                    pointer<double>(theta), inverse, pointer<double>(fill), shape, pointer<void>(grad_image),
                    pointer<double>(grad_theta), threads);
  }, py::kw_only(), py::arg("grad_out"), py::arg("image"), py::arg("theta"), py::arg("inverse"), py::arg("fill"),
     py::arg("shape"), py::arg("grad_image"), py::arg("grad_theta"), py::arg("dtype"), py::arg("threads"), NoGil());
#ifdef REFKP_HAS_CUDA
  m.def("affine_warp_cuda", [](uintptr_t image, uintptr_t theta, bool inverse, uintptr_t fill, AffineWarpShape shape,
                               uintptr_t out, const std::string& dtype, uintptr_t stream) {
    cuda::affine_warp(dtype_from_name(dtype), pointer<void>(image), pointer<double>(theta), inverse, pointer<double>(fill),
                      shape, pointer<void>(out), pointer<void>(stream));
  }, py::kw_only(), py::arg("image"), py::arg("theta"), py::arg("inverse"), py::arg("fill"), py::arg("shape"),
     py::arg("out"), py::arg("dtype"), py::arg("stream"), NoGil());
  m.def("affine_warp_partials", &cuda::affine_warp_partials, py::arg("shape"));
  m.def("affine_warp_backward_cuda", [](uintptr_t grad_out, uintptr_t image, uintptr_t theta, bool inverse, uintptr_t fill,
                                        AffineWarpShape shape, uintptr_t grad_image, uintptr_t grad_theta,
                                        uintptr_t workspace, const std::string& dtype, uintptr_t stream) {
    cuda::affine_warp_backward(dtype_from_name(dtype), pointer<void>(grad_out), pointer<void>(image), pointer<double>(theta),
                               inverse, pointer<double>(fill), shape, pointer<void>(grad_image), pointer<double>(grad_theta),
                               pointer<double>(workspace), pointer<void>(stream));
  }, py::kw_only(), py::arg("grad_out"), py::arg("image"), py::arg("theta"), py::arg("inverse"), py::arg("fill"),
     py::arg("shape"), py::arg("grad_image"), py::arg("grad_theta"), py::arg("workspace"), py::arg("dtype"),
     py::arg("stream"), NoGil());
#endif

  // ---- equivariance_loss ----
  py::class_<EquivarianceShape>(m, "EquivarianceShape")
      .def(py::init([](int64_t b, int64_t k, int64_t h, int64_t w) { return EquivarianceShape{b, k, h, w}; }));
  m.def("equivariance_loss_cpu", [](uintptr_t maps, uintptr_t maps_warped, uintptr_t theta, bool coverage,
                                    EquivarianceShape shape, uintptr_t loss, uintptr_t denominator,
                                    const std::string& dtype, int threads) {
    REFKP_CALL_BEST(equivariance_loss, dtype_from_name(dtype), pointer<void>(maps), pointer<void>(maps_warped),
                    pointer<double>(theta), coverage, shape, pointer<double>(loss), pointer<double>(denominator), threads);
  }, py::kw_only(), py::arg("maps"), py::arg("maps_warped"), py::arg("theta"), py::arg("coverage"), py::arg("shape"),
     py::arg("loss"), py::arg("denominator"), py::arg("dtype"), py::arg("threads"), NoGil());
  m.def("equivariance_loss_backward_cpu", [](uintptr_t maps, uintptr_t maps_warped, uintptr_t theta, bool coverage,
                                             uintptr_t grad_item, EquivarianceShape shape, uintptr_t grad_maps,
                                             uintptr_t grad_maps_warped, const std::string& dtype, int threads) {
    REFKP_CALL_BEST(equivariance_loss_backward, dtype_from_name(dtype), pointer<void>(maps), pointer<void>(maps_warped),
                    pointer<double>(theta), coverage, pointer<double>(grad_item), shape, pointer<void>(grad_maps),
                    pointer<void>(grad_maps_warped), threads);
  }, py::kw_only(), py::arg("maps"), py::arg("maps_warped"), py::arg("theta"), py::arg("coverage"),
     py::arg("grad_item"), py::arg("shape"), py::arg("grad_maps"), py::arg("grad_maps_warped"), py::arg("dtype"),
     py::arg("threads"), NoGil());
#ifdef REFKP_HAS_CUDA
  m.def("equivariance_loss_partials", &cuda::equivariance_loss_partials, py::arg("shape"));
  m.def("equivariance_loss_cuda", [](uintptr_t maps, uintptr_t maps_warped, uintptr_t theta, bool coverage,
                                     EquivarianceShape shape, uintptr_t loss, uintptr_t denominator, uintptr_t workspace,
                                     const std::string& dtype, uintptr_t stream) {
    cuda::equivariance_loss(dtype_from_name(dtype), pointer<void>(maps), pointer<void>(maps_warped),
                            pointer<double>(theta), coverage, shape, pointer<double>(loss), pointer<double>(denominator),
                            pointer<double>(workspace), pointer<void>(stream));
  }, py::kw_only(), py::arg("maps"), py::arg("maps_warped"), py::arg("theta"), py::arg("coverage"), py::arg("shape"),
     py::arg("loss"), py::arg("denominator"), py::arg("workspace"), py::arg("dtype"), py::arg("stream"), NoGil());
  m.def("equivariance_loss_backward_cuda", [](uintptr_t maps, uintptr_t maps_warped, uintptr_t theta, bool coverage,
                                              uintptr_t grad_item, EquivarianceShape shape, uintptr_t grad_maps,
                                              uintptr_t grad_maps_warped, uintptr_t workspace, const std::string& dtype,
                                              uintptr_t stream) {
    cuda::equivariance_loss_backward(dtype_from_name(dtype), pointer<void>(maps), pointer<void>(maps_warped),
                                     pointer<double>(theta), coverage, pointer<double>(grad_item), shape,
                                     pointer<void>(grad_maps), pointer<void>(grad_maps_warped), pointer<void>(workspace),
                                     pointer<void>(stream));
  }, py::kw_only(), py::arg("maps"), py::arg("maps_warped"), py::arg("theta"), py::arg("coverage"),
     py::arg("grad_item"), py::arg("shape"), py::arg("grad_maps"), py::arg("grad_maps_warped"), py::arg("workspace"),
     py::arg("dtype"), py::arg("stream"), NoGil());
#endif

  // ---- e2p ----
  // sizes: images, tiles, channels, ERP height and width, tile height and width. strides: of the ERP images [B,C,H,W].
  py::class_<E2pGeometry>(m, "E2pGeometry")
      .def(py::init([](uintptr_t rays, uintptr_t grid, uintptr_t samples, uintptr_t image_index,
                       std::array<int64_t, 7> sizes, std::array<int64_t, 4> strides, int64_t num_levels,
                       std::array<double, 2> centre, bool equilib, bool nearest) {
        return E2pGeometry{sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5], sizes[6], strides[0], strides[1],
                           strides[2], strides[3], num_levels, centre[0], centre[1], equilib, nearest,
                           pointer<double>(rays), pointer<double>(grid), pointer<int64_t>(samples),
                           pointer<int64_t>(image_index)};
      }), py::kw_only(), py::arg("rays"), py::arg("grid"), py::arg("samples"), py::arg("image_index"), py::arg("sizes"),
         py::arg("strides"), py::arg("num_levels"), py::arg("centre"), py::arg("equilib"), py::arg("nearest"));
  m.def("e2p_pyramid_cpu", [](uintptr_t erp, const E2pGeometry& geometry, uintptr_t pyramid, const std::string& dtype,
                              int threads) {
    REFKP_CALL_BEST(e2p_pyramid, dtype_from_name(dtype), pointer<void>(erp), geometry, pointer<void>(pyramid), threads);
  }, py::kw_only(), py::arg("erp"), py::arg("geometry"), py::arg("pyramid"), py::arg("dtype"), py::arg("threads"), NoGil());
  m.def("e2p_cpu", [](uintptr_t erp, uintptr_t pyramid, const E2pGeometry& geometry, uintptr_t out,
                      const std::string& dtype, int threads) {
    REFKP_CALL_BEST(e2p, dtype_from_name(dtype), pointer<void>(erp), pointer<void>(pyramid), geometry, pointer<void>(out),
                    threads);
  }, py::kw_only(), py::arg("erp"), py::arg("pyramid"), py::arg("geometry"), py::arg("out"), py::arg("dtype"),
     py::arg("threads"), NoGil());
  m.def("e2p_backward_cpu", [](uintptr_t grad_out, const E2pGeometry& geometry, uintptr_t grad_pyramid,
                               uintptr_t grad_erp, const std::string& dtype, int threads) {
    REFKP_CALL_BEST(e2p_backward, dtype_from_name(dtype), pointer<void>(grad_out), geometry, pointer<void>(grad_pyramid),
                    pointer<void>(grad_erp), threads);
  }, py::kw_only(), py::arg("grad_out"), py::arg("geometry"), py::arg("grad_pyramid"), py::arg("grad_erp"),
     py::arg("dtype"), py::arg("threads"), NoGil());
#ifdef REFKP_HAS_CUDA
  m.def("e2p_pyramid_cuda", [](uintptr_t erp, const E2pGeometry& geometry, uintptr_t pyramid, const std::string& dtype,
                               uintptr_t stream) {
    cuda::e2p_pyramid(dtype_from_name(dtype), pointer<void>(erp), geometry, pointer<void>(pyramid), pointer<void>(stream));
  }, py::kw_only(), py::arg("erp"), py::arg("geometry"), py::arg("pyramid"), py::arg("dtype"), py::arg("stream"), NoGil());
  m.def("e2p_cuda", [](uintptr_t erp, uintptr_t pyramid, const E2pGeometry& geometry, uintptr_t out,
                       const std::string& dtype, uintptr_t stream) {
    cuda::e2p(dtype_from_name(dtype), pointer<void>(erp), pointer<void>(pyramid), geometry, pointer<void>(out),
              pointer<void>(stream));
  }, py::kw_only(), py::arg("erp"), py::arg("pyramid"), py::arg("geometry"), py::arg("out"), py::arg("dtype"),
     py::arg("stream"), NoGil());
  m.def("e2p_backward_cuda", [](uintptr_t grad_out, const E2pGeometry& geometry, uintptr_t sums, uintptr_t scale,
                                uintptr_t grad_erp, const std::string& dtype, uintptr_t stream) {
    cuda::e2p_backward(dtype_from_name(dtype), pointer<void>(grad_out), geometry, pointer<int64_t>(sums),
                       pointer<double>(scale), pointer<void>(grad_erp), pointer<void>(stream));
  }, py::kw_only(), py::arg("grad_out"), py::arg("geometry"), py::arg("sums"), py::arg("scale"), py::arg("grad_erp"),
     py::arg("dtype"), py::arg("stream"), NoGil());
#endif

  // ---- vicreg ----
  py::class_<VICRegProblem>(m, "VICRegProblem")
      .def(py::init([](uintptr_t x, uintptr_t y, uintptr_t offsets, int64_t num_segments, int64_t dim, double gamma,
                       double eps, bool unbiased) {
        return VICRegProblem{pointer<void>(x), pointer<void>(y), pointer<int64_t>(offsets), num_segments, dim, gamma,
                             eps, unbiased};
      }), py::kw_only(), py::arg("x"), py::arg("y"), py::arg("offsets"), py::arg("num_segments"), py::arg("dim"),
         py::arg("gamma"), py::arg("eps"), py::arg("unbiased"));
  m.def("vicreg_cpu", [](const VICRegProblem& problem, uintptr_t terms, const std::string& dtype, int threads) {
    REFKP_CALL_BEST(vicreg, dtype_from_name(dtype), problem, pointer<void>(terms), threads);
  }, py::kw_only(), py::arg("problem"), py::arg("terms"), py::arg("dtype"), py::arg("threads"), NoGil());
  m.def("vicreg_backward_cpu", [](const VICRegProblem& problem, uintptr_t weights, uintptr_t grad_x, uintptr_t grad_y,
                                  const std::string& dtype, int threads) {
    REFKP_CALL_BEST(vicreg_backward, dtype_from_name(dtype), problem, pointer<void>(weights), pointer<void>(grad_x),
                    pointer<void>(grad_y), threads);
  }, py::kw_only(), py::arg("problem"), py::arg("weights"), py::arg("grad_x"), py::arg("grad_y"), py::arg("dtype"),
     py::arg("threads"), NoGil());
#ifdef REFKP_HAS_CUDA
  py::class_<VICRegScratch>(m, "VICRegScratch")
      .def(py::init([](uintptr_t moments, uintptr_t partial, uintptr_t gram, uintptr_t gram_offsets, int64_t max_rows) {
        return VICRegScratch{pointer<float>(moments), pointer<double>(partial), pointer<float>(gram),
                             pointer<int64_t>(gram_offsets), max_rows};
      }), py::kw_only(), py::arg("moments"), py::arg("partial"), py::arg("gram"), py::arg("gram_offsets"),
         py::arg("max_rows"));
  m.def("vicreg_partials", &cuda::vicreg_partials, py::arg("num_segments"), py::arg("dim"), py::arg("max_rows"));
  m.def("vicreg_cuda", [](const VICRegProblem& problem, const VICRegScratch& scratch, uintptr_t terms,
                          const std::string& dtype, uintptr_t stream) {
    cuda::vicreg(dtype_from_name(dtype), problem, scratch, pointer<float>(terms), pointer<void>(stream));
  }, py::kw_only(), py::arg("problem"), py::arg("scratch"), py::arg("terms"), py::arg("dtype"), py::arg("stream"),
     NoGil());
  m.def("vicreg_backward_cuda", [](const VICRegProblem& problem, const VICRegScratch& scratch, uintptr_t weights,
                                   uintptr_t grad_x, uintptr_t grad_y, const std::string& dtype, uintptr_t stream) {
    cuda::vicreg_backward(dtype_from_name(dtype), problem, scratch, pointer<float>(weights), pointer<void>(grad_x),
                          pointer<void>(grad_y), pointer<void>(stream));
  }, py::kw_only(), py::arg("problem"), py::arg("scratch"), py::arg("weights"), py::arg("grad_x"), py::arg("grad_y"),
     py::arg("dtype"), py::arg("stream"), NoGil());
#endif

  // ---- flow_gt ----
  // strides: between planes over B, and over S for the target.
  py::class_<FlowImages>(m, "FlowImages")
      .def(py::init([](uintptr_t depth, uintptr_t mask, uintptr_t K, int32_t height, int32_t width,
                       std::array<int64_t, 2> depth_strides, std::array<int64_t, 2> mask_strides) {
        return FlowImages{pointer<void>(depth), pointer<uint8_t>(mask), pointer<double>(K), height, width,
                          depth_strides[0], depth_strides[1], mask_strides[0], mask_strides[1]};
      }), py::kw_only(), py::arg("depth"), py::arg("mask"), py::arg("K"), py::arg("height"), py::arg("width"),
         py::arg("depth_strides"), py::arg("mask_strides"));
  py::class_<FlowProblem>(m, "FlowProblem")
      .def(py::init([](const FlowImages& src, const FlowImages& dst, uintptr_t dst_from_src, int64_t batch,
                       int64_t targets, int rule, double tol_abs, double tol_rel, double tol_px, double pixel_offset) {
        return FlowProblem{src, dst, pointer<double>(dst_from_src), batch, targets, static_cast<FlowRule>(rule),
                           tol_abs, tol_rel, tol_px, pixel_offset};
      }), py::kw_only(), py::arg("src"), py::arg("dst"), py::arg("dst_from_src"), py::arg("batch"), py::arg("targets"),
         py::arg("rule"), py::arg("tol_abs"), py::arg("tol_rel"), py::arg("tol_px"), py::arg("pixel_offset"));
  m.def("flow_gt_cpu", [](const FlowProblem& problem, uintptr_t uv, uintptr_t flags, const std::string& dtype,
                          int threads) {
    REFKP_CALL_BEST(flow_gt, dtype_from_name(dtype), problem, pointer<void>(uv), pointer<uint8_t>(flags), threads);
  }, py::kw_only(), py::arg("problem"), py::arg("uv"), py::arg("flags"), py::arg("dtype"), py::arg("threads"), NoGil());
#ifdef REFKP_HAS_CUDA
  m.def("flow_gt_cuda", [](const FlowProblem& problem, uintptr_t uv, uintptr_t flags, const std::string& dtype,
                           uintptr_t stream) {
    cuda::flow_gt(dtype_from_name(dtype), problem, pointer<float>(uv), pointer<uint8_t>(flags), pointer<void>(stream));
  }, py::kw_only(), py::arg("problem"), py::arg("uv"), py::arg("flags"), py::arg("dtype"), py::arg("stream"), NoGil());
#endif

  // ---- camera_warp ----
  // sizes: images, channels, height and width of the image, then of the output. strides: of the image [B,C,H,W].
  py::class_<CameraWarpProblem>(m, "CameraWarpProblem")
      .def(py::init([](uintptr_t cameras, uintptr_t fill, std::array<int64_t, 6> sizes, std::array<int64_t, 4> strides,
                       bool antialias) {
        return CameraWarpProblem{sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5], strides[0], strides[1],
                                 strides[2], strides[3], antialias, pointer<double>(cameras), pointer<double>(fill)};
      }), py::kw_only(), py::arg("cameras"), py::arg("fill"), py::arg("sizes"), py::arg("strides"), py::arg("antialias"));
  m.def("camera_warp_cpu", [](uintptr_t image, const CameraWarpProblem& problem, uintptr_t out, const std::string& dtype,
                              int threads) {
    REFKP_CALL_BEST(camera_warp, dtype_from_name(dtype), pointer<void>(image), problem, pointer<void>(out), threads);
  }, py::kw_only(), py::arg("image"), py::arg("problem"), py::arg("out"), py::arg("dtype"), py::arg("threads"), NoGil());
  m.def("camera_warp_backward_cpu", [](uintptr_t grad_out, const CameraWarpProblem& problem, uintptr_t grad_image,
                                       const std::string& dtype, int threads) {
    REFKP_CALL_BEST(camera_warp_backward, dtype_from_name(dtype), pointer<void>(grad_out), problem,
                    pointer<void>(grad_image), threads);
  }, py::kw_only(), py::arg("grad_out"), py::arg("problem"), py::arg("grad_image"), py::arg("dtype"),
     py::arg("threads"), NoGil());
#ifdef REFKP_HAS_CUDA
  m.def("camera_warp_cuda", [](uintptr_t image, const CameraWarpProblem& problem, uintptr_t out, const std::string& dtype,
                               uintptr_t stream) {
    cuda::camera_warp(dtype_from_name(dtype), pointer<void>(image), problem, pointer<void>(out), pointer<void>(stream));
  }, py::kw_only(), py::arg("image"), py::arg("problem"), py::arg("out"), py::arg("dtype"), py::arg("stream"), NoGil());
  m.def("camera_warp_backward_cuda", [](uintptr_t grad_out, const CameraWarpProblem& problem, uintptr_t sums,
                                        uintptr_t scale, uintptr_t grad_image, const std::string& dtype, uintptr_t stream) {
    cuda::camera_warp_backward(dtype_from_name(dtype), pointer<void>(grad_out), problem, pointer<int64_t>(sums),
                               pointer<double>(scale), pointer<void>(grad_image), pointer<void>(stream));
  }, py::kw_only(), py::arg("grad_out"), py::arg("problem"), py::arg("sums"), py::arg("scale"), py::arg("grad_image"),
     py::arg("dtype"), py::arg("stream"), NoGil());
#endif
}
