"""Adapters of the geometry of several views: lenses, triangulation, the canonical frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from refkp.geometry.cameras import projection_matrix
from refkp.geometry.canonical_frame import canonical_frame
from refkp.geometry.distortion import project_distorted, undistort_pixels
from refkp.geometry.fov import PyTorch3DFoVCamera, from_pytorch3d_fov
from refkp.geometry.rotations import axis_angle_to_matrix
from refkp.geometry.triangulation import reprojection_error, triangulate_differentiable, triangulate_dlt
from refkp.verify.gradients import leaf, projected_gradients
from refkp.verify.originals import pytorch3d_cameras
from refkp.verify.registry import adapter


@adapter("multiview", "distortion")
def _distortion(
    params: Mapping[str, Any], arrays: Mapping[str, Tensor], backend: str | None
) -> dict[str, Any]:
    K = arrays["in_K"]
    intrinsics = torch.stack((K[0, 0], K[1, 1], K[0, 2], K[1, 2]))
    inputs = (arrays["in_rvec"], arrays["in_tvec"], intrinsics, arrays["in_dist"])

    def pixels(rvec: Tensor, t: Tensor, intrinsics: Tensor, distortion: Tensor) -> Tensor:
        matrix = torch.zeros_like(K)
        matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2] = intrinsics
        matrix[2, 2] = 1
        R = axis_angle_to_matrix(rvec)
        return project_distorted(arrays["in_points"], matrix, R, t, distortion).uv

    uv = pixels(*inputs)
    jacobian = torch.autograd.functional.jacobian(pixels, inputs)
    return {
        "out_uv_distorted": uv,
        "out_uv_ideal": undistort_pixels(uv, K, arrays["in_dist"]).points,
        "out_jacobian": torch.cat(jacobian, dim=-1).flatten(0, 1),
    }


@adapter("multiview", "triangulate_dlt")
def _triangulate_dlt(
    params: Mapping[str, Any], arrays: Mapping[str, Tensor], backend: str | None
) -> dict[str, Any]:
    uv, P = arrays["in_uv"].movedim(0, 1), arrays["in_P"]
    points = triangulate_dlt(uv, P, arrays["in_visible"].mT, normalise_rows=False).points
    return {"out_points": points, "out_reproj_error": reprojection_error(points, uv, P).mT}


@adapter("multiview", "triangulate_differentiable")
def _triangulate_differentiable(
    params: Mapping[str, Any], arrays: Mapping[str, Tensor], backend: str | None
) -> dict[str, Any]:
    inputs = {f"grad_{name}": leaf(arrays[f"in_{name}"]) for name in ("fov", "R", "T")}
    fov, R, T = inputs.values()
    aspect, points = arrays["in_aspect"], arrays["in_points"][..., None, :, :]
    square = torch.tensor([params["image_size"]] * 2)
    ndc = pytorch3d_cameras.fov_ndc(pytorch3d_cameras.world_to_view(points, R, T), fov, aspect)
    screen = pytorch3d_cameras.ndc_to_screen(ndc, square)[..., :2]
    # NDC are the pixels of a picture of two by two, up to their origin and sign.
    K, R_cv, t = from_pytorch3d_fov(PyTorch3DFoVCamera(R, T, fov, aspect), torch.tensor([2, 2]))
    solved = triangulate_differentiable(
        (2 * arrays["in_observed_norm_yx"]).flip(-1).movedim(-2, -3),
        projection_matrix(K, R_cv, t)[..., None, :, :, :],
        arrays["in_visibility"].mT,
        damping=params["damping"],
        normalise_rows=False,
    )
    return {
        "out_project_norm_yx": pytorch3d_cameras.normalise_pixels(screen, square).flip(-1),
        "out_triangulated": solved.points,
        "out_valid": solved.valid,
        **projected_gradients([(solved.points, arrays.get("in_w"))], inputs),
    }


@adapter("multiview", "canonical_frame")
def _canonical_frame(
    params: Mapping[str, Any], arrays: Mapping[str, Tensor], backend: str | None
) -> dict[str, Any]:
    R, t, points, mask = (arrays[f"in_{name}"] for name in ("R", "t", "kp3d", "view_mask"))
    valid = (points != 0).any(-1)
    plain = canonical_frame(R, t, points, view_mask=mask, valid=valid)
    aligned = canonical_frame(R, t, points, view_mask=mask, valid=valid, pytorch3d=True)
    single = canonical_frame(R[1:2], t[1:2], points, valid=valid, pytorch3d=True)
    return {
        "out_R_canon": plain.R,
        "out_t_canon": plain.t,
        "out_kp3d_canon": plain.points,
        "out_v0": plain.anchor,
        "out_R_aligned": aligned.R,
        "out_t_aligned": aligned.t,
        "out_kp3d_aligned": aligned.points,
        "out_kp3d_single": single.points,
        "out_R_single": single.R[0],
        "out_t_single": single.t[0],
    }
