"""Judging a trained run on a caption file: caption metrics and view metrics. Source: spec panorama 5."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from refkp._files import write_json, write_text
from refkp.systems.panorama.data.captions import Caption
from refkp.systems.panorama.inference.captioning import Request, answer, batches
from refkp.systems.panorama.metrics.captions import CaptionScores, caption_scores, tokenize
from refkp.systems.panorama.metrics.diagnostics import view_values
from refkp.systems.panorama.model.generation import GenerationSpec
from refkp.systems.panorama.overlaps.correspondence import correspondence_table
from refkp.systems.panorama.training.runs import LoadedRun

#: Metrics of the COCO tools that are not computed, and why.
UNAVAILABLE = {
    "METEOR": "needs the Java program of the COCO tools",
    "SPICE": "needs the Java program of the COCO tools",
}


@dataclass(frozen=True)
class Evaluation:
    """The answers to every distinct question of a caption file, and their scores."""

    requests: list[Request]
    predictions: list[str]
    references: list[list[str]]  # one or more per request
    captions: CaptionScores
    views: dict[str, float]  # as validation logs them, mean over the batches

    def values(self) -> dict[str, float]:
        """Every score by its name on paper."""
        bleu = {f"BLEU-{order + 1}": value for order, value in enumerate(self.captions.bleu)}
        return {**bleu, "ROUGE-L": self.captions.rouge_l, "CIDEr": self.captions.cider, **self.views}


def evaluate(
    run: LoadedRun,
    captions: Sequence[Caption],
    generation: GenerationSpec = GenerationSpec(),  # noqa: B008 (frozen)
    *,
    batch_size: int = 4,
) -> Evaluation:
    """Answer each question once and compare with all its answers in the file.

    Rows with the same panorama and the same question are references of one sample.

    Args:
        run, generation, batch_size: as in `captioning.answer`.
        captions: the rows of the caption files.
    """
    references: dict[Request, list[str]] = {}
    for row in captions:
        references.setdefault(Request(row.panorama, row.query, row.instruction), []).append(row.answer)
    requests = list(references)
    predictions = list(answer(run, requests, generation, batch_size=batch_size))
    scores = caption_scores(
        [tokenize(prediction) for prediction in predictions],
        [[tokenize(text) for text in texts] for texts in references.values()],
    )
    views = _view_values(run, list(dict.fromkeys(request.panorama for request in requests)), batch_size)
    return Evaluation(requests, predictions, list(references.values()), scores, views)


@torch.no_grad()
def _view_values(run: LoadedRun, panoramas: Sequence[Path], batch_size: int) -> dict[str, float]:
    """The view metrics of validation, each the mean over the batches that have it; none without overlap loss."""
    if run.loss.kind == "none":
        return {}
    vision = run.model.vision
    collected: dict[str, list[float]] = {}
    for batch in batches(run, panoramas, batch_size=batch_size):
        views = run.viewing.render(batch)
        table = correspondence_table(
            batch.layout, vision.grid, run.loss.pairs, margin=run.loss.margin, device=views.views.device
        )
        for name, value in view_values(vision(views.views), table, batch.layout).items():
            collected.setdefault(name, []).append(float(value))
    return {name: sum(values) / len(values) for name, values in collected.items()}


def write_evaluation(evaluation: Evaluation, folder: Path, run: LoadedRun) -> None:
    """summary.json and predictions.csv, one row per question; each file is replaced in one step."""
    report: dict[str, Any] = {
        "checkpoint": str(run.checkpoint),
        "stage": run.stage,
        "num_samples": len(evaluation.requests),
        "scores": evaluation.values(),
        "unavailable": UNAVAILABLE,
    }
    write_text(folder / "predictions.csv", _table(evaluation))
    write_json(folder / "summary.json", report)


def _table(evaluation: Evaluation) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("url", "query", "prediction", "references", "rouge_l", "cider"))
    scores = evaluation.captions
    for request, prediction, references, rouge, consensus in zip(
        evaluation.requests,
        evaluation.predictions,
        evaluation.references,
        scores.rouge_l_each,
        scores.cider_each,
        strict=True,
    ):
        joined = " | ".join(references)
        writer.writerow(
            (request.panorama, request.query, prediction, joined, f"{rouge:.6f}", f"{consensus:.6f}")
        )
    return text.getvalue()
