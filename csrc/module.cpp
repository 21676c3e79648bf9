// Every entry point of refkp._C in one place.
//
// Python hands over raw pointers as integers, sizes, strides in elements, a dtype name, and a thread count (CPU) or a
// stream handle (CUDA). Shapes and dtypes were checked by refkp.ops; nothing is checked again here.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cstdint>
#include <string>
#include <thread>

#include "common/dtype.h"
#include "common/isa.h"
#include "flow/flow_gt.h"

namespace py = pybind11;
using namespace refkp;

namespace {

template <typename T>
T* pointer(uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

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

// images: depth_src, depth_dst, mask_src, mask_dst (0: none). matrices: K_src, K_dst, dst_from_src. sizes: B, S, H, W, Ht,
// Wt. Strides between planes: of the source over B, of the target over B and S.
FlowProblem make_flow_problem(std::array<uintptr_t, 4> images, std::array<uintptr_t, 3> matrices, uintptr_t uv,
                              uintptr_t flags, std::array<int64_t, 6> sizes, std::array<int64_t, 3> depth_strides,
                              std::array<int64_t, 3> mask_strides, int rule, std::array<double, 3> tolerance,
                              double pixel_offset) {
  const auto size = [&](int k) { return static_cast<int32_t>(sizes[k]); };
  FlowProblem p;
  p.depth_src = pointer<void>(images[0]);
  p.depth_dst = pointer<void>(images[1]);
  p.mask_src = pointer<uint8_t>(images[2]);
  p.mask_dst = pointer<uint8_t>(images[3]);
  p.K_src = pointer<double>(matrices[0]);
  p.K_dst = pointer<double>(matrices[1]);
  p.dst_from_src = pointer<double>(matrices[2]);
  p.uv = pointer<void>(uv);
  p.flags = pointer<uint8_t>(flags);
  p.batch = sizes[0];
  p.targets = sizes[1];
  p.height = size(2), p.width = size(3), p.height_dst = size(4), p.width_dst = size(5);
  p.depth_src_stride = depth_strides[0], p.mask_src_stride = mask_strides[0];
  p.depth_dst_stride_b = depth_strides[1], p.depth_dst_stride_s = depth_strides[2];
  p.mask_dst_stride_b = mask_strides[1], p.mask_dst_stride_s = mask_strides[2];
  p.rule = static_cast<FlowRule>(rule);
  p.tol_abs = tolerance[0], p.tol_rel = tolerance[1], p.tol_px = tolerance[2];
  p.pixel_offset = pixel_offset;
  return p;
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
  py::class_<FlowProblem>(m, "FlowProblem")
      .def(py::init(&make_flow_problem), py::kw_only(), py::arg("images"), py::arg("matrices"), py::arg("uv"),
           py::arg("flags"), py::arg("sizes"), py::arg("depth_strides"), py::arg("mask_strides"), py::arg("rule"),
           py::arg("tolerance"), py::arg("pixel_offset"));
  m.def(
      "flow_gt_cpu",
      [](const FlowProblem& problem, const std::string& dtype, int threads) {
        REFKP_CALL_BEST(flow_gt_cpu, problem, dtype_from_name(dtype), threads);
      },
      py::arg("problem"), py::kw_only(), py::arg("dtype"), py::arg("threads"),
      py::call_guard<py::gil_scoped_release>());
#ifdef REFKP_HAS_CUDA
  m.def(
      "flow_gt_cuda",
      [](const FlowProblem& problem, const std::string& dtype, uintptr_t stream) {
        flow_gt_cuda(problem, dtype_from_name(dtype), stream);
      },
      py::arg("problem"), py::kw_only(), py::arg("dtype"), py::arg("stream"),
      py::call_guard<py::gil_scoped_release>());
#endif
}
