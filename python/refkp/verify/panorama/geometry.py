"""Adapters of the tile layout: records, pairs, token correspondences."""

from __future__ import annotations

import torch

from refkp.geometry.sphere import half_tangents, intersection_solid_angle, tile_solid_angle, view_rotation
from refkp.systems.panorama.overlaps.correspondence import project_tokens
from refkp.systems.panorama.overlaps.pairs import tile_distance, tile_pairs
from refkp.systems.panorama.overlaps.spec import PairRule
from refkp.systems.panorama.views.layout import ErpLayout
from refkp.verify.registry import Arrays, Params, Values, adapter


@adapter("panorama", "anyres_layout")
def anyres_layout(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """The tile records of a layout; the original writes its centres as (forward, up, right)."""
    layout = ErpLayout.build(
        hfov_deg=params["hfov_deg"],
        overlap=params["overlap"],
        closed_loop_yaw=params["closed_loop_yaw"],
        yaw_phase_deg=params["yaw_phase_deg"],
        include_seam_center=params["include_seam_center"],
        pitch_min_deg=params["pitch_min"],
        pitch_max_deg=params["pitch_max"],
    )
    angles = {
        name: torch.tensor([getattr(tile, name) for tile in layout.tiles], dtype=torch.float64)
        for name in ("yaw_deg", "pitch_deg", "hfov_deg", "vfov_deg")
    }
    tile_id = torch.tensor([tile.tile_id for tile in layout.tiles])
    forward = torch.stack([tile.forward_xyz for tile in layout.tiles])
    return {"tile_id": tile_id, **angles, "center_xyz": forward.flip(-1)}


@adapter("panorama", "tile_pairs")
def tile_pairs_box(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """Pairs of several layouts under the three strategies with the box estimate."""
    values = {}
    for name, group in params.items():
        yaw, pitch = arrays[f"{name}_yaw"].tolist(), arrays[f"{name}_pitch"].tolist()
        layout = ErpLayout.from_angles(yaw, pitch, hfov_deg=group["hfov_deg"])
        values[f"{name}_gc_deg"] = torch.rad2deg(tile_distance(layout))
        for strategy in ("adjacent", "distance_based", "all_pairs"):
            rule = PairRule(strategy, "box", max_distance_deg=group["distance_threshold"])
            pairs = tile_pairs(layout, rule)
            values[f"{name}_{strategy}_ij"] = pairs.ij
            values[f"{name}_{strategy}_overlap"] = pairs.overlap
    return values


@adapter("panorama", "token_overlap")
def token_overlap(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """Token correspondences and shared solid angle of pairs of square tiles."""
    rotation_a, rotation_b = (view_rotation(*arrays[name].unbind(-1)) for name in ("tile_a", "tile_b"))
    fov = torch.full(rotation_a.shape[:1], params["fov_deg"], dtype=rotation_a.dtype)
    tangent = half_tangents(fov, fov)
    grid = (params["n_tokens"], params["n_tokens"])
    projection = project_tokens(rotation_a, rotation_b, tangent, tangent, grid)
    shared = [
        intersection_solid_angle(a, t, b, t) for a, b, t in zip(rotation_a, rotation_b, tangent, strict=True)
    ]
    return {
        "row_in_b": projection.row,
        "col_in_b": projection.col,
        "visible": projection.visible,
        "solid_angle_overlap": torch.tensor(shared, dtype=torch.float64) / tile_solid_angle(tangent),
    }
