"""Golden functions that refkp does not answer, with the reason."""

from __future__ import annotations

from refkp.systems import SYSTEMS

_NOT_BUILT = "refkp.systems.{system} does not offer it in this version"

_FUNCTIONS = {
    "keypoints": """
        find_max_pixel gaussian_circles gaussian_loss_at_point sharpening_loss top_k_gaussian entropy_sort
        furthest_point_sampling pixel_from_weighted_avg differentiable_argmax variance_loss
        corresponding_points collect_maps requery_attention augmented_ensemble vote_best_indices regressor
        regressor_visible eval_metric sharpening_loss_softmax sharpening_with_selection temporal_loss
        adaptive_temporal_loss grid_views head_aggregate six_view_sharpening sk_attention
        reference_attention reference_unet eq_grid zero123_scales
        noise_schedule v_parameterisation flexdiffuse encode_target_scaling zero123_cameras
        k_max_pixels_centred""",
}

#: {(system, golden function): reason}
SKIPPED = {
    (system, function): _NOT_BUILT.format(system=system)
    for system, functions in _FUNCTIONS.items()
    for function in functions.split()
}


def skip_reason(system: str, function: str) -> str:
    """Why a golden function without an adapter is not run."""
    if system not in SYSTEMS:
        return f"refkp has no system {system!r}; it has {', '.join(SYSTEMS)}"
    return SKIPPED.get((system, function), f"refkp knows no golden function {system}/{function}")
