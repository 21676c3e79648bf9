"""From pairs of patches to a weighted set of 2D-3D points per object, with gradient to flow and weights.

The 3D side is template depth at whole pixels, a constant. The 2D side is the predicted query point, and the
weight comes from the predicted precision and from the matching probability.

Source: spec pose 3.5, 4.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

import torch
from torch import Tensor

from refkp.geometry.cameras import unproject
from refkp.geometry.pnp import PnPProblem
from refkp.ops.flow_gt import patch_centres, patch_grid
from refkp.systems.pose.model.flow import PairPrediction
from refkp.systems.pose.model.pairs import PatchPairs
from refkp.systems.pose.views import PoseBatch, Views

#: EPro-PnP counts in metres, everything else here in millimetres.
_METRES_PER_MM = 1e-3


class PairPoints(NamedTuple):
    """What M pairs of patches say about their p x p template pixels."""

    pairs: PatchPairs
    prediction: PairPrediction
    log_probability: Tensor  # float32 [M], of the match


class _Chosen(NamedTuple):
    """n points of each of B objects; those that are not `valid` only fill the rows."""

    pair: Tensor  # int64 [B,n], index of the pair
    row: Tensor  # int64 [B,n], of the pixel in its patch
    column: Tensor  # int64 [B,n]
    valid: Tensor  # bool [B,n]


def match_log_probability(logits: Tensor, pairs: PatchPairs) -> Tensor:
    """[M] float32: log of the softmax probability of each pair among the classes of its query patch.

    Args:
        logits: [B,S,N,N+1].
        pairs: which entries.
    """
    rows = logits[pairs.b, pairs.s, pairs.query].float()
    return rows.log_softmax(-1).gather(-1, pairs.template[:, None])[:, 0]


def object_generators(keys: Sequence[str], step: int, device: torch.device | str) -> list[torch.Generator]:
    """A generator for each object, seeded by its key and the step: the same on whichever rank the object is.

    Args:
        keys: of the objects, as in `PoseBatch.keys`.
        step: of the training, so that an object draws anew each time.
        device: of the numbers.
    """
    seeds = (blake2b(f"{step} {key}".encode(), digest_size=8).digest() for key in keys)
    return [torch.Generator(device).manual_seed(int.from_bytes(seed) >> 1) for seed in seeds]


def point_problem(
    points: PairPoints,
    batch: PoseBatch,
    patch_size: int,
    scale: Tensor,
    *,
    max_points: int,
    generators: Sequence[torch.Generator],
) -> PnPProblem:
    """The PnP problem of each object: at most `max_points` template pixels, drawn by their weight.

        x3d = obj_from_cam (z K_t^-1 (x, y, 1)),  x2d = query patch centre + p * flow,
        w2d = scale * softmax over points of log(probability / (p b))

    Args:
        points: pairs in lexicographic order, with their predictions.
        batch: B objects with S templates.
        patch_size: p in pixels.
        scale: [2], sum of the weights in each axis, per pixel.
        max_points: per object.
        generators: of the drawing, one for each object (`object_generators`).

    Returns:
        The problem [B,max_points] ([B,0] without any pair) in metres, crop pixels and float32, with `valid` for
        rows that are not full; gradients to flow, Laplace scale, probability and `scale`.

    Source: spec pose 4.4.
    """
    columns = patch_grid(batch.query.size, patch_size)[1]
    log_weight = points.log_probability[:, None, None] - torch.log(
        patch_size * points.prediction.scale.float()
    )
    depth = _pair_depth(batch.templates, points.pairs, patch_size, columns)
    drawn = torch.where(torch.isfinite(depth) & (depth > 0), log_weight.detach(), -torch.inf)
    chosen = _choose(drawn, points.pairs.b, max_points, generators)
    at = (chosen.pair, chosen.row, chosen.column)
    x3d = _lift(batch.templates, points.pairs, chosen, depth[at], patch_size, columns)
    centres = patch_centres(batch.query.size, patch_size, depth.device).float()
    x2d = centres[points.pairs.query[chosen.pair]] + patch_size * points.prediction.flow[at].float()
    weight = _normalised(log_weight[at], chosen.valid)[..., None] * scale
    return PnPProblem(x3d, x2d, weight, batch.query.K.float(), chosen.valid)


def metric_pose(cam_from_obj: Tensor) -> Tensor:
    """[...,4,4] of millimetres -> the same pose in metres."""
    pose = cam_from_obj.clone()
    pose[..., :3, 3] *= _METRES_PER_MM
    return pose


def _pair_depth(templates: Views, pairs: PatchPairs, patch_size: int, columns: int) -> Tensor:
    """[M,p,p]: depth of the template patches, 0 off the mask."""
    inside = torch.arange(patch_size, device=pairs.b.device)
    rows = (pairs.template // columns * patch_size)[:, None, None] + inside[:, None]
    cols = (pairs.template % columns * patch_size)[:, None, None] + inside
    at = (pairs.b[:, None, None], pairs.s[:, None, None], rows, cols)
    return torch.where(templates.masks[at], templates.depth[at], 0)


def _choose(
    log_weight: Tensor, owner: Tensor, max_points: int, generators: Sequence[torch.Generator]
) -> _Chosen:
    """Draw pixels without replacement, each object its own, in proportion to their weight (Gumbel top-k)."""
    patch_size, num_objects = log_weight.shape[-1], len(generators)
    count = torch.bincount(owner, minlength=num_objects)
    first = count.cumsum(0) - count
    slot = torch.arange(len(owner), device=owner.device) - first[owner]
    waiting = torch.empty_like(log_weight)
    for part, generator in zip(waiting.split(count.tolist()), generators, strict=True):
        part.exponential_(generator=generator)
    noise = waiting.clamp_min_(1e-30).log_().neg_()
    # As many rows also where all objects have fewer: what is drawn over rows later does not depend on the others.
    width = max(int(count.max()), -(-max_points // patch_size**2)) if len(owner) else 0
    keys = log_weight.new_full((num_objects, width, patch_size**2), -torch.inf)
    keys[owner, slot] = (log_weight + noise).flatten(1)
    keys, index = keys.flatten(1).topk(min(max_points, width * patch_size**2), dim=1)
    valid = keys > -torch.inf
    pair = torch.where(valid, first[:, None] + index // patch_size**2, 0)
    pixel = index % patch_size**2
    return _Chosen(pair, pixel // patch_size, pixel % patch_size, valid)


def _lift(
    templates: Views, pairs: PatchPairs, chosen: _Chosen, depth: Tensor, patch_size: int, columns: int
) -> Tensor:
    """[B,n,3] float32, metres in the object frame: the points under the chosen template pixels."""
    patch = pairs.template[chosen.pair]
    x = patch % columns * patch_size + chosen.column + 0.5
    y = torch.div(patch, columns, rounding_mode="floor") * patch_size + chosen.row + 0.5
    view = (pairs.b[chosen.pair], pairs.s[chosen.pair])
    pixel, pose = torch.stack([x, y], dim=-1).double(), templates.cam_from_obj[view]
    in_object = unproject(pixel, depth.double(), templates.K[view], pose[..., :3, :3], pose[..., :3, 3])
    return (_METRES_PER_MM * in_object).float()


def _normalised(log_weight: Tensor, valid: Tensor) -> Tensor:
    """Softmax over the valid points of each row; a row without any is 0 and stays free of NaN."""
    some = valid.any(1, keepdim=True)
    return log_weight.masked_fill(~valid & some, -torch.inf).softmax(1) * valid
