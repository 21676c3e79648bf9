"""Poses that a model in training finds on held-out pictures.

They come from the few templates of a batch: quick, and good for curves. But those templates are chosen around
the true view, which inference does not know.

Source: spec pose 5.
"""

from __future__ import annotations

import torch
from torch import Tensor

from refkp.geometry.pnp import PnPSpec, matrix_to_pose, pose_error, solve
from refkp.nn.ranks import Mean
from refkp.systems.pose.losses.correspondences import (
    PairPoints,
    match_log_probability,
    metric_pose,
    object_generators,
    point_problem,
)
from refkp.systems.pose.model.pairs import pairs_from_labels
from refkp.systems.pose.model.vpog import Vpog, VpogOutput
from refkp.systems.pose.views import PoseBatch

#: Sum of the weights of an object's points: sets how far the robust cost is quadratic, not where its minimum is.
_SCALE = 20.0
_NUM_POINTS = 256
_GOOD_DEG = 10.0


def pose_errors(model: Vpog, output: VpogOutput, on_object: Tensor, batch: PoseBatch) -> dict[str, Mean]:
    """Poses from the most likely class of each query patch and the flow to it; nothing of the truth but the mask.

    Args:
        model: predicts the flow of the pairs.
        output: tokens and logits.
        on_object: bool [B,S,N], query patches of the object.
        batch: the views.
    """
    num_patches = output.logits.shape[-1] - 1
    guess = torch.where(on_object, output.logits.argmax(-1), -1)
    pairs = pairs_from_labels(guess, num_patches)
    points = PairPoints(pairs, model.flow(output.tokens, pairs), match_log_probability(output.logits, pairs))
    scale = batch.query.K.new_full((2,), _SCALE, dtype=torch.float32)
    # The same draws in every validation and in whatever batch, and none from the numbers that training goes on with.
    generators = object_generators(batch.keys, 0, scale.device)
    patch_size = model.spec.encoder.patch_size
    problem = point_problem(points, batch, patch_size, scale, max_points=_NUM_POINTS, generators=generators)
    solution = solve(problem, PnPSpec(iterations=10), generators)
    error = pose_error(solution.pose, matrix_to_pose(metric_pose(batch.query.cam_from_obj)).float())
    degrees = torch.where(solution.failed, 180.0, torch.rad2deg(error.rotation))
    return {
        "rotation_error_deg": Mean.over(degrees),
        "pose_below_10deg": Mean.over(degrees < _GOOD_DEG),
        "poses_failed": Mean.over(solution.failed),
    }
