"""Adapters of the multi-view system: cameras and rotations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from refkp.geometry import cameras, fov, rotations
from refkp.verify.gradients import leaf, projected_gradients
from refkp.verify.originals import pytorch3d_cameras
from refkp.verify.registry import adapter


@adapter("multiview", "camera_opencv_p3d")
def _camera_opencv_p3d(
    params: Mapping[str, Any], arrays: Mapping[str, Tensor], backend: str | None
) -> dict[str, Any]:
    inputs = {f"grad_{name}": leaf(arrays[f"in_{name}"]) for name in ("points", "R", "t", "K")}
    points, R, t, K = inputs.values()
    image_size = arrays["in_image_size_wh"].flip(-1)
    uv, depth = cameras.project(points, K, R, t)
    camera = cameras.pytorch3d_camera(K, R, t, image_size)
    view = pytorch3d_cameras.world_to_view(points, camera.R, camera.T)
    ndc = pytorch3d_cameras.perspective_ndc(view, camera.focal_length, camera.principal_point)
    native = fov.field_of_view(K, image_size, canvas="native")
    square = fov.field_of_view(K, image_size, canvas="square")
    return {
        "out_uv": uv,
        "out_depth": depth,
        "out_R_p3d": camera.R,
        "out_T_p3d": camera.T,
        "out_focal_ndc": camera.focal_length,
        "out_pp_ndc": camera.principal_point,
        "out_xy_ndc": ndc[..., :2],
        "out_uv_p3d": pytorch3d_cameras.ndc_to_screen(ndc, image_size)[..., :2],
        "out_uv_norm": pytorch3d_cameras.normalise_pixels(uv, image_size),
        "out_fov_y_deg": square.fov_deg,
        "out_aspect_square": square.aspect,
        "out_fov_native_deg": native.fov_deg,
        "out_aspect_native": native.aspect,
        **projected_gradients([(uv, arrays.get("in_w"))], inputs),
    }


@adapter("multiview", "p3d_fov_camera")
def _p3d_fov_camera(
    params: Mapping[str, Any], arrays: Mapping[str, Tensor], backend: str | None
) -> dict[str, Any]:
    inputs = {f"grad_{name}": leaf(arrays[f"in_{name}"]) for name in ("R", "T", "fov", "aspect", "points")}
    R, T, fov_deg, aspect, points = inputs.values()
    view = pytorch3d_cameras.world_to_view(points, R, T)
    ndc = pytorch3d_cameras.fov_ndc(view, fov_deg, aspect, z_near=params["znear"], z_far=params["zfar"])
    screen = pytorch3d_cameras.ndc_to_screen(ndc, arrays["in_image_size_hw"])
    gradients = projected_gradients([(screen[..., :2], arrays.get("in_w"))], inputs)
    return {"out_view": view, "out_ndc": ndc, "out_screen": screen, **gradients}


@adapter("multiview", "p3d_perspective_camera")
def _p3d_perspective_camera(
    params: Mapping[str, Any], arrays: Mapping[str, Tensor], backend: str | None
) -> dict[str, Any]:
    names = ("R", "T", "focal_length", "principal_point", "points")
    inputs = {f"grad_{name}": leaf(arrays[f"in_{name}"]) for name in names}
    R, T, focal_length, principal_point, points = inputs.values()
    image_size = arrays["in_image_size_hw"]
    if not params["in_ndc"]:
        focal_length, principal_point = cameras.intrinsics_to_ndc(focal_length, principal_point, image_size)
    ndc = pytorch3d_cameras.perspective_ndc(
        pytorch3d_cameras.world_to_view(points, R, T), focal_length, principal_point
    )
    screen = pytorch3d_cameras.ndc_to_screen(ndc, image_size)
    gradients = projected_gradients([(screen[..., :2], arrays.get("in_w"))], inputs)
    return {"out_ndc": ndc, "out_screen": screen, **gradients}


@adapter("multiview", "rotations")
def _rotations(
    params: Mapping[str, Any], arrays: Mapping[str, Tensor], backend: str | None
) -> dict[str, Any]:
    axis_angle, quaternion = leaf(arrays["in_axis_angle"]), leaf(arrays["in_quat"])
    six, valid_six = leaf(arrays["in_d6"]), leaf(arrays["in_d6_valid"])
    matrix = rotations.axis_angle_to_matrix(axis_angle)
    from_six = rotations.rotation_6d_to_matrix(six)
    from_quaternion = rotations.quaternion_to_matrix(quaternion)
    via_matrix = rotations.matrix_to_axis_angle(rotations.rotation_6d_to_matrix(valid_six))
    return {
        "out_matrix": matrix,
        "out_quaternion": rotations.matrix_to_quaternion(matrix),
        "out_axis_angle_back": rotations.matrix_to_axis_angle(matrix),
        "out_d6_from_matrix": rotations.matrix_to_rotation_6d(matrix),
        "out_matrix_from_d6": from_six,
        "out_matrix_from_quat": from_quaternion,
        "out_axis_angle_from_d6": via_matrix,
        **projected_gradients([(matrix, arrays.get("in_w"))], {"grad_axis_angle": axis_angle}),
        **projected_gradients([(from_six, arrays.get("in_w6"))], {"grad_d6": six}),
        **projected_gradients([(from_quaternion, arrays.get("in_wq"))], {"grad_quat": quaternion}),
        **projected_gradients([(via_matrix, arrays.get("in_wa"))], {"grad_d6_via_axis_angle": valid_six}),
    }
