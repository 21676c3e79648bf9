"""What the heads are to predict: the template patch that each query patch sees, and the flow inside it.

Two compact flows hold all of it. Query to templates gives the labels. Templates to query gives the dense
flow: 3D points come from template depth at whole pixels, so nothing is read between pixels. The tensor of all
patch pairs is never built.

Source: spec pose 3.3 to 3.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from refkp._checks import fail, require_shape, shape_text
from refkp.ops.flow_gt import FlowGT, flow_gt, gather_pairs, patch_labels, relative_pose
from refkp.systems.pose.views import Views


@dataclass(frozen=True)
class TargetSpec:
    """How correspondence is decided.

    Args:
        vote: the label is that of most visible pixels of the patch instead of its centre pixel.
        mutual: a match counts only if the centre of the template patch lands back within one patch.
        rule, tol_abs, tol_rel, tol_px: the occlusion test of `flow_gt`; lengths in millimetres.
        window: a pixel counts as visible within this distance of the query patch centre, in patches.
        min_visible: a pair of patches with fewer visible pixels has none.
    """

    vote: bool = False
    mutual: bool = False
    rule: str = "quad"
    tol_abs: float = 0.5
    tol_rel: float = 0.0
    tol_px: float = 2.0
    window: float = 2.0
    min_visible: int = 4


class PoseTargets(NamedTuple):
    """Targets of B queries with S templates each; N query patches and as many template patches.

    `flow[b,s,n,i,j]` belongs to pixel (i, j) of the template patch `labels[b,s,n]`, the partner of query patch
    n: the query point it shows is (centre of query patch n) + p * flow. Without a partner it is 0.
    """

    labels: Tensor  # int64 [B,S,N]: template patch 0..N-1 seen by the query patch, N unseen, -1 background
    flow: Tensor  # float32 [B,S,N,p,p,2], patch units, x first
    visible: Tensor  # bool [B,S,N,p,p], the template pixel is seen in the query

    @property
    def patch_size(self) -> int:
        """p in pixels."""
        return self.flow.shape[-2]

    @property
    def has_partner(self) -> Tensor:
        """[B,S,N] bool."""
        return (self.labels >= 0) & (self.labels < self.labels.shape[-1])


def pose_targets(
    query: Views,
    templates: Views,
    patch_size: int,
    spec: TargetSpec = TargetSpec(),
    backend: str | None = None,
) -> PoseTargets:
    """Labels and dense flow of every query with each of its templates, from depth and poses.

        labels: patch under the centre pixel of query patch n, carried to template s (`patch_labels`)
        flow:   (uv(pixel (i, j) of template patch labels[n]) - centre of query patch n) / p

    Pixel centres at +0.5, lengths in millimetres on both sides. Invalid depth (0, NaN, infinite) takes no
    part; a query with an empty mask gets labels -1 alone.

    Args:
        query: B views.
        templates: [B,S] views of the same size, of the same object in the same frame.
        patch_size: p in pixels; a remainder of the image has no patch.
        spec: how correspondence is decided.
        backend: of `flow_gt`.

    Returns:
        PoseTargets; no gradients.

    Raises:
        ValueError: views of other leading axes, or of two sizes.

    Source: spec pose 3.3 to 3.5.
    """
    _check_views(query, templates)
    to_templates, to_query = _both_flows(query, templates, spec, backend)
    reverse = to_query if spec.mutual else None
    labels = patch_labels(to_templates, patch_size, vote=spec.vote, reverse=reverse).flatten(2)
    return PoseTargets(labels, *_dense_flow(to_query, labels, patch_size, spec))


def _check_views(query: Views, templates: Views) -> None:
    if query.masks.dim() != 3 or templates.masks.dim() != 4 or len(query.masks) != len(templates.masks):
        got = f"{shape_text(query.masks.shape)} and {shape_text(templates.masks.shape)}"
        fail("pose_targets", "templates", "[B,S] views beside B queries", f"masks {got}")
    require_shape("pose_targets", "query.depth", query.depth, "B,H,W", H=query.size[0], W=query.size[1])
    if query.size != templates.size:
        fail("pose_targets", "templates", f"of the size of the query {query.size}", templates.size)


def _both_flows(
    query: Views, templates: Views, spec: TargetSpec, backend: str | None
) -> tuple[FlowGT, FlowGT]:
    """Query -> templates [B,S,H,W], and every template as the source of a row: [B*S,1,H,W]."""
    batch, targets = templates.masks.shape[:2]
    options: dict[str, Any] = {
        "rule": spec.rule,
        "tol_abs": spec.tol_abs,
        "tol_rel": spec.tol_rel,
        "tol_px": spec.tol_px,
        "backend": backend,
    }
    query_pose = query.cam_from_obj[:, None].expand(batch, targets, 4, 4)
    to_templates = flow_gt(
        query.depth,
        query.K,
        templates.depth,
        templates.K,
        relative_pose(templates.cam_from_obj, query_pose),
        mask_src=query.masks,
        mask_dst=templates.masks,
        **options,
    )
    to_query = flow_gt(
        templates.depth.flatten(0, 1),
        templates.K.flatten(0, 1),
        _per_template(query.depth, targets),
        _per_template(query.K, targets),
        relative_pose(query_pose, templates.cam_from_obj).flatten(0, 1)[:, None],
        mask_src=templates.masks.flatten(0, 1),
        mask_dst=_per_template(query.masks, targets),
        **options,
    )
    return to_templates, to_query


def _per_template(tensor: Tensor, targets: int) -> Tensor:
    """[B,...] -> [B*S,1,...]."""
    return tensor.repeat_interleave(targets, dim=0)[:, None]


def _dense_flow(to_query: FlowGT, labels: Tensor, patch_size: int, spec: TargetSpec) -> tuple[Tensor, Tensor]:
    """Flow and visibility of the partners' pixels; labels -1 and N are no template patch and give 0."""
    query_patch = torch.arange(labels.shape[-1], device=labels.device)
    pairs = gather_pairs(
        to_query,
        labels.flatten(0, 1)[:, None],
        query_patch,
        patch_size,
        window=spec.window,
        min_visible=spec.min_visible,
    )
    return pairs.flow[:, 0].unflatten(0, labels.shape[:2]), ~pairs.unseen[:, 0].unflatten(0, labels.shape[:2])
