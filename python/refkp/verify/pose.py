"""Adapters of the pose system: template views."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from refkp.geometry.icosphere import cam_from_obj, icosphere_views, num_icosphere_views, obj_from_cam
from refkp.verify.registry import adapter


@adapter("pose", "template_views")
def _template_views(
    params: Mapping[str, Any], arrays: Mapping[str, Tensor], backend: str | None
) -> dict[str, Any]:
    directions = icosphere_views(params["level"])
    stored_positions = icosphere_views(params["level"], rounded=True) * params["radius"]
    return {
        "directions": directions,
        "cam_poses": obj_from_cam(stored_positions),
        "obj_poses": cam_from_obj(stored_positions),
        "cam_poses_exact": obj_from_cam(directions),
        "levels_counts": [num_icosphere_views(level) for level in range(3)],
    }
