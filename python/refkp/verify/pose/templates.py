"""Adapter of the choice of templates."""

from __future__ import annotations

from refkp.geometry.icosphere import cam_from_obj, icosphere_views
from refkp.systems.pose.templates.selection import rotation_angles_deg, select_templates, view_angles_deg
from refkp.verify.registry import Arrays, Params, Values, adapter


@adapter("pose", "template_selection")
def template_selection(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """Queries among the 162 views: their exact directions, and their rotations as the published files round them."""
    queries = arrays["query_R"]
    exact, stored = (
        cam_from_obj(icosphere_views(1, rounded=rounded))[:, :3, :3] for rounded in (False, True)
    )
    by_rotation, by_direction = (
        select_templates(
            queries,
            templates,
            num_positives=params["num_positive"],
            num_negatives=0,
            metric="so3",
            min_negative_angle_deg=params["min_negative_angle_deg"],
        )
        for templates in (stored, exact)
    )
    return {
        "nearest_view": by_direction.anchor,
        "inplane_deg": by_rotation.inplane_deg,
        "view_angle_deg": view_angles_deg(queries, exact),
        "nearest_view_angle_deg": by_direction.anchor_angle_deg,
        "positives": by_rotation.positives,
        "so3_angle_to_anchor_deg": rotation_angles_deg(stored[by_rotation.anchor], stored),
        "so3_angle_to_query_deg": rotation_angles_deg(queries, stored),
        "negative_mask": by_rotation.is_far,
        "d_ref": by_direction.ref_direction,
    }
