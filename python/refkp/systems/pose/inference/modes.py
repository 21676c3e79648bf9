"""Which templates are asked: a few chosen ones together, or all of them, each alone. Source: spec pose 6.4."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from refkp._checks import fail
from refkp.systems.pose.inference.matches import (
    Matches,
    Ranking,
    classify_patches,
    matches_of,
    rank_templates,
)
from refkp.systems.pose.inference.predictor import Predictor
from refkp.systems.pose.inference.task import Task
from refkp.systems.pose.templates.selection import view_directions


class Evidence(NamedTuple):
    """What the templates say about a query."""

    ranking: Ranking  # the kept templates, best first; the scores are those of the pass that gave the matches
    matches: Matches  # of the kept templates, in the order of their rank


def ask(predictor: Predictor, task: Task) -> Evidence:
    """The matches of all templates where these are asked, else of a cluster."""
    return global_evidence(predictor, task) if task.asks_all else cluster_evidence(predictor, task)


def cluster_evidence(predictor: Predictor, task: Task) -> Evidence:
    """Matches of a few templates that are seen together, which is how the model was trained.

    They are those of the task (verified, or because a rough pose is known), which must be given where the
    cluster is "verified". Without them a first pass scores all templates by their class logits alone.
    """
    templates, matching = task.templates, task.spec.modes.matching
    if templates is None:
        templates = _choose(predictor, task)
    prediction = predictor.together(templates)
    classes = classify_patches(prediction.logits, task.on_object, mutual=matching.mutual)
    ranking = rank_templates(classes.template_score, len(templates))
    matches = matches_of(prediction, ranking.templates, task.on_object, task.grid, matching)
    return Evidence(
        Ranking(templates[ranking.templates], ranking.score),
        matches._replace(template=templates[matches.template]),
    )


def global_evidence(predictor: Predictor, task: Task) -> Evidence:
    """Matches of the `num_hypotheses` best templates of all, each seen alone.

    Scores of templates that see another side can be high, so more templates are kept than give the pose in the
    end. A chunk bounds the memory and changes no answer. Of each chunk, matches are kept only for those templates
    that can still be among the best.
    """
    on_object, modes = task.on_object, task.spec.modes
    best = Ranking(torch.empty(0, dtype=torch.int64), torch.empty(0))
    kept: dict[int, Matches] = {}
    for chunk in _chunks(task):
        prediction = predictor.alone(chunk)
        classes = classify_patches(prediction.logits, on_object, mutual=modes.matching.mutual)
        best = _merge(best, Ranking(chunk, classes.template_score), modes.num_hypotheses)
        leaders = best.templates.tolist()
        kept = {template: found for template, found in kept.items() if template in leaders}
        for local, template in enumerate(chunk.tolist()):
            if template in leaders:
                found = matches_of(prediction, torch.tensor([local]), on_object, task.grid, modes.matching)
                kept[template] = found._replace(template=torch.full_like(found.template, template))
    parts = [kept[template] for template in best.templates.tolist()]
    return Evidence(best, Matches(*(torch.cat(fields) for fields in zip(*parts, strict=True))))


def neighbours(cam_from_obj: Tensor, anchor: int, count: int) -> Tensor:
    """The `count` templates that look from nearest to where `anchor` does, itself first; poses [S,4,4]."""
    directions = view_directions(cam_from_obj[:, :3, :3])
    return rank_templates(directions @ directions[anchor], count).templates


def _choose(predictor: Predictor, task: Task) -> Tensor:
    """[k] int64, the templates of a cluster by the scores of a pass over all."""
    modes = task.spec.modes
    if modes.cluster == "verified":
        fail("cluster_evidence", "templates", "given where `cluster` is 'verified'", None)
    logits = (predictor.logits(chunk) for chunk in _chunks(task))
    scores = torch.cat([classify_patches(some, task.on_object).template_score for some in logits])
    ranking = rank_templates(scores, modes.num_templates)
    if modes.cluster == "scores":
        return ranking.templates
    return neighbours(task.bank.cam_from_obj, int(ranking.templates[0]), modes.num_templates)


def _chunks(task: Task) -> Iterator[Tensor]:
    yield from torch.arange(task.bank.num_templates).split(task.spec.modes.chunk)


def _merge(best: Ranking, more: Ranking, top_k: int) -> Ranking:
    templates = torch.cat((best.templates, more.templates))
    ranking = rank_templates(torch.cat((best.score, more.score)), top_k)
    return Ranking(templates[ranking.templates], ranking.score)
