"""Answers of a trained model about panoramas, seen and asked as in its training. Source: spec panorama 5, 7.19."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch.utils.data import DataLoader

from refkp._checks import fail
from refkp.systems.panorama.batch import ErpBatch
from refkp.systems.panorama.data.datasets import PanoramaDataset, PanoramaItem, collate
from refkp.systems.panorama.data.text import TextProcessor, TextSample
from refkp.systems.panorama.model.generation import GenerationSpec
from refkp.systems.panorama.tokenizer import load_tokenizer
from refkp.systems.panorama.training.runs import LoadedRun


class Request(NamedTuple):
    """A question about a panorama."""

    panorama: Path
    query: str  # a subject, or a whole instruction
    instruction: bool = False  # `query` is a whole instruction


def answer(
    run: LoadedRun,
    requests: Sequence[Request],
    generation: GenerationSpec = GenerationSpec(),  # noqa: B008 (frozen)
    *,
    batch_size: int = 4,
) -> Iterator[str]:
    """The answers to `requests`, in their order, as they are generated.

    Args:
        run: a trained text stage; generation happens on the device of its model.
        requests: panoramas with questions, in batches of `batch_size`.
        generation: how tokens are chosen, and how many at most.

    Raises:
        ValueError: the run has no language model yet, or a panorama cannot be read.
    """
    if run.stage == "vision":
        remedy = "Train the stages resampler and finetune first."
        fail("answer", "run", "of a text stage", "the vision stage", remedy)
    processor = TextProcessor(load_tokenizer(run.model.spec.language.source), run.text)
    none = torch.empty(0, dtype=torch.long)
    prompts = [
        TextSample(processor.prompt(request.query, instruction=request.instruction), none)
        for request in requests
    ]
    paths = [request.panorama for request in requests]
    for batch in batches(run, paths, prompts, pad_id=processor.pad_id, batch_size=batch_size):
        yield from processor.decode(run.model.generate(run.viewing.render(batch), generation))


def batches(
    run: LoadedRun,
    panoramas: Sequence[Path],
    texts: Sequence[TextSample] | None = None,
    *,
    pad_id: int | None = None,
    batch_size: int = 4,
) -> Iterator[ErpBatch]:
    """Unturned panoramas in order, on the device of the model."""
    if batch_size < 1:
        fail("batches", "batch_size", "at least 1", batch_size)
    layout = run.viewing.build_layout()
    dataset = PanoramaDataset(panoramas, run.viewing.erp_height, layout, texts=texts, cache=False)

    def collate_fn(items: list[PanoramaItem]) -> ErpBatch:
        return collate(items, pad_id)

    device = next(run.model.parameters()).device
    for batch in DataLoader(dataset, batch_size, collate_fn=collate_fn):
        yield batch.to(device)
