"""Adapters of templates and ground truth: views, dense flow with occlusion, patch labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from refkp.geometry.icosphere import cam_from_obj, icosphere_views, num_icosphere_views, obj_from_cam
from refkp.ops.flow_gt import (
    FlowGT,
    flow_gt,
    matcher_source_depth,
    patch_centres,
    patch_labels,
    relative_pose,
)
from refkp.verify.registry import adapter

Params = Mapping[str, Any]
Arrays = Mapping[str, Tensor]


@adapter("pose", "template_views")
def template_views(params: Params, arrays: Arrays, backend: str | None) -> dict[str, Any]:
    """The stored views of a level, and the same positions recomputed exactly."""
    directions = icosphere_views(params["level"])
    stored_positions = icosphere_views(params["level"], rounded=True) * params["radius"]
    return {
        "directions": directions,
        "cam_poses": obj_from_cam(stored_positions),
        "obj_poses": cam_from_obj(stored_positions),
        "cam_poses_exact": obj_from_cam(directions),
        "levels_counts": [num_icosphere_views(level) for level in range(3)],
    }


@adapter("pose", "flow_ground_truth", op="flow_gt")
def _flow_ground_truth(params: Params, arrays: Arrays, backend: str | None) -> dict[str, Any]:
    """Query to templates: three occlusion rules at o = 0, one at o = 0.5 on depth sampled there."""
    nearest: dict[str, Any] = {
        "rule": "nearest",
        "tol_abs": params["tol_abs_mm"],
        "tol_rel": params["tol_rel"],
        "tol_px": 0.0,
    }
    twosided: dict[str, Any] = {"rule": "nearest_twosided", "tol_abs": 1.0, "tol_rel": 0.01, "tol_px": 0.0}
    integer = _query_to_templates(arrays, backend, "", pixel_offset=0.0, **nearest)
    half = _query_to_templates(arrays, backend, "half_", pixel_offset=0.5, **nearest)
    return {
        "patch_centers": patch_centres((params["H"], params["W"]), params["patch_size"]),
        "nearest_uv": integer.uv[0],
        "nearest_visible": integer.visible[0],
        "twosided_visible": _query_to_templates(arrays, backend, "", pixel_offset=0.0, **twosided).visible[0],
        "quad_visible": _query_to_templates(arrays, backend, "", pixel_offset=0.0).visible[0],
        "half_analytic_uv": half.uv[0],
        "half_nearest_visible": half.visible[0],
    }


@adapter("pose", "flow_ground_truth_real", op="flow_gt")
def _flow_ground_truth_real(params: Params, arrays: Arrays, backend: str | None) -> dict[str, Any]:
    """A real mesh rendered at o = 0.5 from a query view and three template views with one camera."""
    arrays = {**arrays, "K_q": arrays["K"], "K_t": arrays["K"]}
    nearest: dict[str, Any] = {"rule": "nearest", "tol_abs": 2.0, "tol_px": 0.0}
    quad = _query_to_templates(arrays, backend, "", pixel_offset=params["o"])
    gt = _query_to_templates(arrays, backend, "", pixel_offset=params["o"], **nearest)
    return {
        "analytic_uv": gt.uv[0],
        "nearest_visible": gt.visible[0],
        "quad_visible": quad.visible[0],
    }


@adapter("pose", "flow_ground_truth_roma", op="flow_gt")
def _flow_ground_truth_roma(params: Params, arrays: Arrays, backend: str | None) -> dict[str, Any]:
    """The rule of the dense matchers: bilinear target depth, relative error, normalised coordinates."""
    gt = flow_gt(
        matcher_source_depth(arrays["depth1"][None]),
        arrays["K1"][None],
        arrays["depth2"][None, None],
        arrays["K2"][None, None],
        arrays["T_1to2"][None, None],
        rule=f"{params['depth_interpolation_mode']}_relative",
        tol_abs=0.0,
        tol_rel=params["relative_depth_error_threshold"],
        tol_px=0.0,
        backend=backend,
    )
    return {"warp": gt.normalised()[0, 0], "valid": gt.visible[0, 0]}


@adapter("pose", "patch_labels", op="flow_gt")
def _patch_labels(params: Params, arrays: Arrays, backend: str | None) -> dict[str, Any]:
    """Patch classes of the query; every template pixel mapped to the query, each template a batch item."""
    nearest: dict[str, Any] = {"rule": "nearest", "tol_px": 0.0, "pixel_offset": 0.0, "backend": backend}
    scale, templates = params["scale"], len(arrays["pose_t"])
    query_to_templates = _query_to_templates(
        arrays,
        prefix="",
        mask=arrays["mask_q"],
        tol_abs=params["tol_template_units"],
        unit_scale=scale,
        **nearest,
    )
    templates_to_query = flow_gt(
        arrays["depth_t"],
        arrays["K_t"].expand(templates, 3, 3),
        arrays["depth_q"].expand(templates, 1, -1, -1),
        arrays["K_q"].expand(templates, 1, 3, 3),
        relative_pose(arrays["pose_q"], arrays["pose_t"], unit_scale=1 / scale)[:, None],
        mask_dst=arrays["mask_q"].expand(templates, 1, -1, -1),
        tol_abs=params["tol_query_mm"],
        **nearest,
    )
    return {
        "nearest_patch_cls": patch_labels(query_to_templates, params["patch_size"])[0],
        "tq_uv": templates_to_query.uv[:, 0],
        "tq_nearest_visible": templates_to_query.visible[:, 0],
    }


def _query_to_templates(
    arrays: Arrays,
    backend: str | None,
    prefix: str,
    *,
    mask: Tensor | None = None,
    unit_scale: float = 1.0,
    **options: Any,
) -> FlowGT:
    """The query (with the mask that labels are made on) as the source, all templates as targets: B = 1."""
    templates = len(arrays["pose_t"])
    return flow_gt(
        arrays[prefix + "depth_q"][None],
        arrays["K_q"][None],
        arrays[prefix + "depth_t"][None],
        arrays["K_t"].expand(1, templates, 3, 3),
        relative_pose(arrays["pose_t"], arrays["pose_q"], unit_scale=unit_scale)[None],
        mask_src=None if mask is None else mask[None],
        backend=backend,
        **options,
    )
