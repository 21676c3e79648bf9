"""From class probabilities and in-patch flow to matches between a query and its templates. Source: spec pose 6.1."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from refkp._checks import fail, require_finite, require_shape
from refkp.systems.pose.inference.grid import PatchGrid
from refkp.systems.pose.inference.spec import MatchSpec
from refkp.systems.pose.model.flow import flow_confidence

_SCALE_FLOOR = 1e-4  # added to a Laplace scale before it is inverted, as in training


class Prediction(NamedTuple):
    """What a model, or ground truth in its place, says about one query and S templates.

    `flow` and `scale` are given for the partner of each query patch: the template patch with the largest
    logit, whatever the class "unseen" has. Direction: template pixel -> query location. Origin: centre of the
    query patch.
    """

    logits: Tensor  # float [S,N,N+1]; the last class is "unseen"
    flow: Tensor  # float [S,N,p,p,2], patch units, x first
    scale: Tensor  # float [S,N,p,p], Laplace scale in patch units, > 0

    @property
    def weight(self) -> Tensor:
        """[S,N,p,p]: 1 / (scale + 1e-4), in 1 / patch."""
        return (self.scale + _SCALE_FLOOR).reciprocal()

    @property
    def confidence(self) -> Tensor:
        """[S,N,p,p] in [0,1]: the probability that the flow is right to half a patch."""
        return flow_confidence(self.scale)


class PatchClasses(NamedTuple):
    """The most probable template patch of every query patch."""

    partner: Tensor  # int64 [S,N], in 0..N-1
    score: Tensor  # float [S,N], its probability; 0 where "unseen" is more probable or off the object

    @property
    def template_score(self) -> Tensor:
        """[S]: the sum of the scores of the patches."""
        return self.score.sum(-1)


class Ranking(NamedTuple):
    """Templates in the order of their scores."""

    templates: Tensor  # int64 [k]
    score: Tensor  # float [k]


class PatchMatches(NamedTuple):
    """Pairs of patches: templates in the order of their rank, query patches in order within each."""

    template: Tensor  # int64 [M]
    query: Tensor  # int64 [M]
    partner: Tensor  # int64 [M]
    score: Tensor  # float [M], probability


class Matches(NamedTuple):
    """Points of the query and of templates that show the same point of the object."""

    template: Tensor  # int64 [m], which template
    query_uv: Tensor  # float32 [m,2], pixels of the query crop
    template_uv: Tensor  # float32 [m,2], pixels of the template crop
    weight: Tensor  # float32 [m], 1 / scale of the error, in 1 / patch
    score: Tensor  # float32 [m] in [0,1], probability that the match is right, to half a patch if by flow
    query_patch: Tensor  # int64 [m], the query patch of the pair

    def select(self, index: Tensor) -> Matches:
        """The matches at `index` (int64 or bool)."""
        return Matches(*(field[index] for field in self))


def classify_patches(
    logits: Tensor, on_object: Tensor | None = None, *, mutual: bool = False
) -> PatchClasses:
    """The partner of every query patch, and how probable it is.

    Args:
        logits: [S,N,N+1] float; class N is "unseen".
        on_object: [N] bool, the query patches that count; None: all. Patches off the object have no label in
            training, so what a model says there means nothing.
        mutual: a patch that is not the best one (largest logit among those on the object) of its own partner
            gets score 0.

    Returns:
        PatchClasses, in the dtype of `logits`.

    Raises:
        ValueError: wrong shape, or logits that are not finite.
    """
    require_shape("classify_patches", "logits", logits, "S,N,K")
    patches, classes = logits.shape[1:]
    if classes != patches + 1:
        fail("classify_patches", "logits", "[S,N,N+1]", list(logits.shape))
    require_finite("classify_patches", "logits", logits)
    if on_object is None:
        on_object = torch.ones(patches, dtype=torch.bool, device=logits.device)
    require_shape("classify_patches", "on_object", on_object, "N", N=patches)
    best, choice = logits.softmax(-1).max(-1)
    partner = best_partners(logits)
    seen = (choice < patches) & on_object
    if mutual and patches:
        towards_query = logits[..., :patches].masked_fill(~on_object[:, None], -torch.inf)
        back = towards_query.argmax(1).gather(1, partner)
        seen = seen & (back == torch.arange(patches, device=logits.device))
    return PatchClasses(partner, torch.where(seen, best, 0))


def best_partners(logits: Tensor) -> Tensor:
    """[...,N] int64: the template patch with the largest of `logits` [...,N,N+1], "unseen" aside."""
    return logits[..., :-1].argmax(-1)


def rank_templates(template_score: Tensor, top_k: int | None = None) -> Ranking:
    """The `top_k` templates with the highest scores, best first; None: all, in their own order.

    Of equal scores the lower index comes first.

    >>> rank_templates(torch.tensor([1.0, 3.0, 2.0]), 2).templates.tolist()
    [1, 2]
    """
    require_shape("rank_templates", "template_score", template_score, "S")
    if top_k is None:
        return Ranking(torch.arange(len(template_score), device=template_score.device), template_score)
    if top_k < 1:
        fail("rank_templates", "top_k", ">= 1 or None", top_k)
    index = template_score.argsort(descending=True, stable=True)[:top_k]
    return Ranking(index, template_score[index])


def select_patches(classes: PatchClasses, templates: Tensor, top_k: int | None = None) -> PatchMatches:
    """The pairs of patches of `templates` [k] int64, or only the `top_k` most probable of each template.

    Of equal scores the lower query patch is kept. Pairs of score 0 are none.
    """
    score = classes.score[templates]
    kept = score > 0
    if top_k is not None:
        best = score.argsort(dim=-1, descending=True, stable=True)[:, :top_k]
        kept = kept & torch.zeros_like(kept).scatter_(1, best, True)
    rank, query = kept.nonzero(as_tuple=True)
    template = templates[rank]
    return PatchMatches(template, query, classes.partner[template, query], score[rank, query])


def coarse_matches(pairs: PatchMatches, grid: PatchGrid) -> Matches:
    """The centre of the query patch and that of its partner; their error is of the order of a patch: weight 1."""
    score = pairs.score.to(torch.float32)
    centres = grid.centres(pairs.query), grid.centres(pairs.partner)
    return Matches(pairs.template, *centres, torch.ones_like(score), score, pairs.query)


def refined_matches(
    pairs: PatchMatches,
    flow: Tensor,
    weight: Tensor,
    confidence: Tensor,
    grid: PatchGrid,
    *,
    min_weight: float,
) -> Matches:
    """Every pixel of a partner patch with enough weight, and where the flow takes it.

        template point = pixel (a, b) of the partner patch
        query point    = centre of the query patch + p * flow(a, b)
        score          = probability of the pair of patches * confidence of the flow(a, b)

    Args:
        pairs: M pairs of patches.
        flow: [M,p,p,2] float, patch units, x first: template pixel -> query location, from the centre of the
            query patch.
        weight: [M,p,p] float, 1 / patch.
        confidence: [M,p,p] float in [0,1].
        grid: the patches of both pictures.
        min_weight: pixels with less are dropped, and those without any confidence.

    Returns:
        Matches in the order of (pair, a, b).
    """
    p = grid.patch_size
    require_shape("refined_matches", "flow", flow, "M,p,p,2", M=len(pairs.query), p=p)
    for name, value in (("weight", weight), ("confidence", confidence)):
        require_shape("refined_matches", name, value, "M,p,p", M=len(pairs.query), p=p)
    kept = (weight >= min_weight) & (confidence > 0)
    pair, row, column = kept.nonzero(as_tuple=True)
    centre = grid.centres(pairs.query)[pair]
    return Matches(
        pairs.template[pair],
        centre + p * flow[pair, row, column].to(torch.float32),
        grid.pixels(pairs.partner[pair], row, column),
        weight[pair, row, column].to(torch.float32),
        (pairs.score[pair] * confidence[pair, row, column]).to(torch.float32),
        pairs.query[pair],
    )


def soft_matches(pairs: PatchMatches, logits: Tensor, grid: PatchGrid) -> Matches:
    """The centre of the query patch and its expected place among the partner and the eight patches around it.

        template point = sum_n P(n) centre(n) / mass,   mass = sum_n P(n),   n in the 3 x 3 patches

    P is the softmax over all N + 1 classes. The mass is the score; the weight is 1, as of centres.

    Args:
        pairs: M pairs of patches.
        logits: [S,N,N+1] float, those that the pairs come from.
        grid: the patches of the templates.
    """
    step = torch.arange(-1, 2, device=logits.device)
    row = (pairs.partner // grid.columns)[:, None, None] + step[:, None]
    column = (pairs.partner % grid.columns)[:, None, None] + step
    inside = (row >= 0) & (row < grid.rows) & (column >= 0) & (column < grid.columns)
    patch = torch.where(inside, row * grid.columns + column, 0).flatten(1)
    probability = logits[pairs.template, pairs.query].softmax(-1).gather(1, patch) * inside.flatten(1)
    mass = probability.sum(-1)
    expected = (probability[..., None] * grid.centres(patch)).sum(1) / mass[:, None]
    score = mass.to(torch.float32)
    return Matches(
        pairs.template,
        grid.centres(pairs.query),
        expected.to(torch.float32),
        torch.ones_like(score),
        score,
        pairs.query,
    )


def matches_of(
    prediction: Prediction, templates: Tensor, on_object: Tensor, grid: PatchGrid, spec: MatchSpec
) -> Matches:
    """The matches of `templates` [k] int64 in a prediction, as `spec` asks; `on_object` [N] bool."""
    classes = classify_patches(prediction.logits, on_object, mutual=spec.mutual)
    pairs = select_patches(classes, templates, spec.top_k_patches)
    if spec.kind == "coarse":
        return coarse_matches(pairs, grid)
    if spec.kind == "soft":
        return soft_matches(pairs, prediction.logits, grid)
    at = (pairs.template, pairs.query)
    flow, weight, confidence = prediction.flow[at], prediction.weight[at], prediction.confidence[at]
    return refined_matches(pairs, flow, weight, confidence, grid, min_weight=spec.min_weight)


def draw_by_weight(weight: Tensor, max_count: int, generator: torch.Generator) -> Tensor:
    """Indices int64 of at most `max_count` elements, drawn without replacement in proportion to `weight` [m] > 0.

    They are those with the largest log(weight) + Gumbel noise, in rising order; `generator` fixes the draw.
    """
    count = len(weight)
    if count <= max_count:
        return torch.arange(count)
    uniform = torch.rand(count, generator=generator, dtype=torch.float64).clamp(min=1e-300)
    keys = weight.double().log() - torch.log(-torch.log(uniform))
    return keys.topk(max_count).indices.sort().values
