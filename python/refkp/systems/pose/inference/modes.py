"""Which templates are asked: a few chosen ones together, or all of them in chunks. Source: spec pose 6.4."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from refkp._checks import fail, require_choice
from refkp.systems.pose.inference.grid import PatchGrid
from refkp.systems.pose.inference.matches import (
    Matches,
    MatchSpec,
    Ranking,
    classify_patches,
    matches_of,
    rank_templates,
)
from refkp.systems.pose.inference.predictor import Predictor
from refkp.systems.pose.templates.selection import view_directions

MODES = ("cluster", "global")

#: How the templates of a cluster are chosen: "verified" are the best one and its neighbours by viewing
#: direction, where the best is the one that supports the best pose of a pass over all; "neighbours" the same
#: with the best by score; "scores" the best few by score.
CLUSTERS = ("verified", "neighbours", "scores")


@dataclass(frozen=True)
class ModeSpec:
    """Which templates are asked, and how many of them give matches."""

    mode: str = "cluster"  # one of MODES
    num_templates: int = 4  # whose matches give the pose together
    num_hypotheses: int = 12  # of all templates, those that give a pose of their own; geometry chooses
    cluster: str = "verified"  # one of CLUSTERS
    chunk: int = 8  # templates seen together in a pass over all; far more than in training confuse attention
    matching: MatchSpec = field(default_factory=MatchSpec)

    def __post_init__(self) -> None:
        require_choice("ModeSpec", "mode", self.mode, MODES)
        require_choice("ModeSpec", "cluster", self.cluster, CLUSTERS)
        if self.num_templates < 1 or self.chunk < 1:
            fail("ModeSpec", "num_templates, chunk", ">= 1", (self.num_templates, self.chunk))
        if self.asks_all and self.num_hypotheses < self.num_templates:
            rule = f">= num_templates = {self.num_templates}"
            fail("ModeSpec", "num_hypotheses", rule, self.num_hypotheses)

    @property
    def asks_all(self) -> bool:
        """Whether all templates give matches, at least at first."""
        return self.mode == "global" or self.cluster == "verified"


class Evidence(NamedTuple):
    """What the templates say about a query."""

    ranking: Ranking  # the kept templates, best first; the scores are those of the pass that gave the matches
    matches: Matches  # of the kept templates, in the order of their rank


def cluster_evidence(
    predictor: Predictor,
    cam_from_obj: Tensor,
    on_object: Tensor,
    grid: PatchGrid,
    spec: ModeSpec,
    templates: Tensor | None = None,
) -> Evidence:
    """Matches of a few templates that are seen together.

    A first pass scores all templates in chunks by their class logits alone. The second sees the chosen ones
    together, which is how the model was trained.

    Args:
        predictor: answers about the query.
        cam_from_obj: [S,4,4], poses of the templates.
        on_object: [N] bool, query patches on the object.
        grid: patches of the crops.
        spec: how many templates, and how they are chosen.
        templates: [k] int64, chosen beforehand (verified, or because a rough pose is known): no first pass
            then. Must be given where `spec.cluster` is "verified".
    """
    if templates is None and spec.cluster == "verified":
        fail("cluster_evidence", "templates", "given where `cluster` is 'verified'", None)
    if templates is None:
        scores = torch.cat(
            [
                classify_patches(predictor.logits(chunk, int(chunk[0])), on_object).template_score
                for chunk in _chunks(cam_from_obj, spec.chunk)
            ]
        )
        templates = _choose(scores, cam_from_obj, spec)
    prediction = predictor.predict(templates, int(templates[0]))
    scores = classify_patches(prediction.logits, on_object, mutual=spec.matching.mutual).template_score
    ranking = rank_templates(scores, len(templates))
    matches = matches_of(prediction, ranking.templates, on_object, grid, spec.matching)
    return Evidence(
        Ranking(templates[ranking.templates], ranking.score),
        matches._replace(template=templates[matches.template]),
    )


def global_evidence(
    predictor: Predictor, cam_from_obj: Tensor, on_object: Tensor, grid: PatchGrid, spec: ModeSpec
) -> Evidence:
    """Matches of the `num_hypotheses` best templates of all, each as seen in its chunk.

    Scores of templates that see another side can be high, so more templates are kept than give the pose in the
    end. Attention is joint, so what is said of a template depends somewhat on the others of its chunk. Of each
    chunk, matches are kept only for those templates that can still be among the best.
    """
    best = Ranking(torch.empty(0, dtype=torch.int64), torch.empty(0))
    kept: dict[int, Matches] = {}
    for chunk in _chunks(cam_from_obj, spec.chunk):
        prediction = predictor.predict(chunk, int(chunk[0]))
        classes = classify_patches(prediction.logits, on_object, mutual=spec.matching.mutual)
        best = _merge(best, Ranking(chunk, classes.template_score), spec.num_hypotheses)
        leaders = best.templates.tolist()
        kept = {template: found for template, found in kept.items() if template in leaders}
        for local, template in enumerate(chunk.tolist()):
            if template in leaders:
                found = matches_of(prediction, torch.tensor([local]), on_object, grid, spec.matching)
                kept[template] = found._replace(template=torch.full_like(found.template, template))
    parts = [kept[template] for template in best.templates.tolist()]
    return Evidence(best, Matches(*(torch.cat(fields) for fields in zip(*parts, strict=True))))


def neighbours(cam_from_obj: Tensor, anchor: int, count: int) -> Tensor:
    """The `count` templates that look from nearest to where `anchor` does, itself first; poses [S,4,4]."""
    directions = view_directions(cam_from_obj[:, :3, :3])
    return rank_templates(directions @ directions[anchor], count).templates


def _chunks(cam_from_obj: Tensor, size: int) -> Iterator[Tensor]:
    yield from torch.arange(len(cam_from_obj)).split(size)


def _choose(scores: Tensor, cam_from_obj: Tensor, spec: ModeSpec) -> Tensor:
    ranking = rank_templates(scores, spec.num_templates)
    if spec.cluster == "scores":
        return ranking.templates
    return neighbours(cam_from_obj, int(ranking.templates[0]), spec.num_templates)


def _merge(best: Ranking, more: Ranking, top_k: int) -> Ranking:
    templates = torch.cat((best.templates, more.templates))
    ranking = rank_templates(torch.cat((best.score, more.score)), top_k)
    return Ranking(templates[ranking.templates], ranking.score)
