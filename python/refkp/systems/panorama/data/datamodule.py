"""The Lightning DataModule of the panorama system: panoramas alone, or with questions and answers.

A worker decodes a panorama and draws a rotation; the views of a whole batch are rendered on the training
device, in one launch, after the transfer. So the random rotation costs nothing, and 25 MB tiles never cross a
process border. Every batch carries its layout and, in the text stages, its tokens; nothing is set on a model.
Source: spec panorama 5 and 6.

Two panoramas with captions, and two steps of the resampler stage on a tiny model:

>>> from pathlib import Path
>>> from tempfile import TemporaryDirectory
>>> import lightning, torch
>>> from PIL import Image
>>> from refkp.nn.encoders import EncoderSpec
>>> from refkp.systems.panorama.model.language import LanguageSpec
>>> from refkp.systems.panorama.model.vision import VisionStageSpec
>>> from refkp.systems.panorama.training.module import PanoramaModule
>>> from refkp.systems.panorama.model.vlm import PanoramaVLMSpec
>>> folder = TemporaryDirectory()
>>> for name, colour in (("sea", "navy"), ("field", "olive")):
...     Image.new("RGB", (64, 32), colour).save(f"{folder.name}/{name}.png")
>>> table = Path(folder.name, "captions.csv")
>>> _ = table.write_text("url,query,annotation\\nsea.png,the view,Water.\\nfield.png,the view,Grass.\\n")

>>> options = {"stage": "resampler", "language": "tiny", "batch_size": 1}
>>> viewing = Viewing(view_size=32, erp_height=32)
>>> data = PanoramaData(str(table), val_source=str(table), viewing=viewing, **options)
>>> data.setup("fit")
>>> batch = data.on_after_batch_transfer(next(iter(data.val_dataloader())), 0)
>>> tuple(batch.views.shape), batch.layout.num_views, batch.text.input_ids.shape == batch.text.labels.shape
((1, 9, 3, 32, 32), 9, True)

>>> vision, language = VisionStageSpec(EncoderSpec("tiny", 32)), LanguageSpec("tiny")
>>> networks = PanoramaVLMSpec(vision, language=language)
>>> module = PanoramaModule("resampler", networks)
>>> quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
>>> trainer = lightning.Trainer(max_epochs=1, accelerator="cpu", enable_model_summary=False, **quiet)
>>> trainer.fit(module, data)
>>> trainer.global_step, bool(torch.isfinite(trainer.callback_metrics["val/caption"]))
(2, True)
>>> folder.cleanup()

`refkp train panorama --stage all --config tiny --data captions.csv --out RUN` trains all three stages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from refkp._checks import fail, require_choice
from refkp._extras import named_extras
from refkp.systems.panorama.batch import ErpBatch, PanoBatch
from refkp.systems.panorama.data.captions import Caption, read_captions
from refkp.systems.panorama.data.datasets import PanoramaDataset, PanoramaItem, collate
from refkp.systems.panorama.data.sources import find_panoramas, unreadable_panoramas
from refkp.systems.panorama.data.text import TextProcessor, TextSample, TextSpec
from refkp.systems.panorama.data.viewing import Viewing
from refkp.systems.panorama.stages import Stage
from refkp.systems.panorama.tokenizer import QWEN, load_tokenizer
from refkp.systems.panorama.views.augmentation import Augmentation
from refkp.training.data import SystemData, require_unseen
from refkp.training.sampling import batch_generator, held_out_groups

with named_extras():
    from lightning.pytorch.utilities import rank_zero_warn


class _Row(NamedTuple):
    """A sample before it is decoded and tokenised."""

    path: Path
    caption: Caption | None  # None in the vision stage

    @property
    def origin(self) -> str:
        return f"{self.path}" if self.caption is None else self.caption.origin


class PanoramaData(SystemData):
    """Training and held-out panoramas, rendered to views of one layout.

    The vision stage reads panoramas: a folder, or the column `url` of CSV files. The text stages read CSV
    files with questions and answers (`read_captions`); each text is tokenised at set-up, so that one that is
    too long is found before the first step.

    Args:
        source: a folder or a CSV file of panoramas, or several CSV files.
        val_source: the held-out ones; None holds out `val_fraction` of the panoramas of `source`, with all
            their rows. A held-out panorama that is also trained on, under another name say, is an error; only
            who names the `source` or one of its files judges on what was trained on.
        val_fraction: part of `source` that is held out when there is no `val_source`, at least one, in (0,1).
        stage: what is trained; "vision" needs no texts.
        viewing: the views; their size is set by the encoder. Only layouts, and crops with tiles, have overlaps
            to train on.
        language: the `LanguageSpec.source` whose tokenizer is used; set by the language model.
        text: how texts become tokens.
        augmentation: random rotation of all tiles of a training sample: "none", "yaw" or "full".
        jitter_deg: random turn of each tile by itself, one layout per training step (`ErpLayout.jittered`).
        batch_size: panoramas in a step, on each rank.
        repeat: passes over the panoramas in one epoch.
        num_workers: loader processes; 0 decodes in the training process.
        prefetch: batches that each loader process prepares ahead.
        cache: keep decoded panoramas in memory.
        on_error: what to do with a panorama that cannot be read: "raise", or "skip" all its rows. To skip,
            every panorama is decoded once at set-up; a row never gets another row's panorama.
        split_seed: of the choice of held-out panoramas, the same in runs of another `seed`.
        seed: of the order and every draw; `--seed` sets it.
    """

    def __init__(
        self,
        source: str | list[str],
        val_source: str | list[str] | None = None,
        val_fraction: float = 0.25,
        stage: Stage = "vision",
        viewing: Viewing = Viewing(),  # noqa: B008 (frozen)
        language: str = QWEN,
        text: TextSpec = TextSpec(),  # noqa: B008 (frozen)
        augmentation: Augmentation = "full",
        jitter_deg: float = 0.0,
        batch_size: int = 8,
        repeat: int = 1,
        num_workers: int = 0,
        prefetch: int = 2,
        cache: bool = True,
        on_error: Literal["raise", "skip"] = "raise",
        split_seed: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, num_workers, seed, prefetch)
        if not 0 < val_fraction < 1:
            fail("PanoramaData", "val_fraction", "inside (0,1)", val_fraction)
        require_choice("PanoramaData", "on_error", on_error, ("raise", "skip"))
        if repeat < 1:
            fail("PanoramaData", "repeat", "at least 1", repeat)
        if jitter_deg < 0:
            fail("PanoramaData", "jitter_deg", "at least 0", jitter_deg)
        self.source, self.val_source = source, val_source
        self.val_fraction, self.split_seed = val_fraction, split_seed
        self.stage, self.language, self.text = stage, language, text
        self.viewing = viewing
        self.layout = viewing.build_layout()
        self.augmentation, self.jitter_deg = augmentation, jitter_deg
        self.repeat, self.cache, self.on_error = repeat, cache, on_error
        self.skipped: list[str] = []  # the rows left out by `on_error`, with the reason
        self._pad_id: int | None = None

    train_set: PanoramaDataset
    val_set: PanoramaDataset

    def setup(self, stage: str) -> None:
        """Find the panoramas, read and tokenise their texts, and split them."""
        if hasattr(self, "train_set"):
            return
        processor = None
        if self.stage != "vision":
            processor = TextProcessor(load_tokenizer(self.language), self.text)
            self._pad_id = processor.pad_id
        train, held_out = self._split()
        named = set(_listed(self.val_source))
        if not named or not named <= set(_listed(self.source)):
            require_unseen((row.path for row in train), (row.path for row in held_out))
        self.train_set = self._dataset(train, processor, self.augmentation, self.repeat)
        self.val_set = self._dataset(held_out, processor, None, 1)

    def _dataset(
        self,
        rows: Sequence[_Row],
        processor: TextProcessor | None,
        augmentation: Augmentation | None,
        repeat: int,
    ) -> PanoramaDataset:
        return PanoramaDataset(
            [row.path for row in rows],
            self.viewing.erp_height,
            self.layout,
            texts=None if processor is None else _texts(rows, processor),
            augmentation=augmentation,
            repeat=repeat,
            cache=self.cache,
            seed=self.seed,
        )

    def _split(self) -> tuple[list[_Row], list[_Row]]:
        rows = self._rows(self.source)
        if self.val_source is not None:
            return rows, self._rows(self.val_source)
        train, held_out = held_out_groups([str(row.path) for row in rows], self.val_fraction, self.split_seed)
        return [rows[number] for number in train], [rows[number] for number in held_out]

    def _rows(self, source: str | list[str]) -> list[_Row]:
        """The rows of a source whose panoramas exist, and under `on_error` "skip" can be read."""
        sources = _listed(source)
        if self.stage == "vision":
            paths = dict.fromkeys(path for item in sources for path in find_panoramas(item))
            rows = [_Row(path, None) for path in paths]
        else:
            rows = [_Row(caption.panorama, caption) for caption in read_captions(_require_files(sources))]
        if self.on_error == "raise":
            _require_panoramas(rows)
            return rows
        reasons = unreadable_panoramas(row.path for row in rows)
        left_out = [f"{row.origin}: {reasons[row.path]}" for row in rows if row.path in reasons]
        if left_out:
            self.skipped += left_out
            rank_zero_warn(
                f"PanoramaData: {len(left_out)} of {len(rows)} rows left out:\n" + "\n".join(left_out)
            )
        rows = [row for row in rows if row.path not in reasons]
        if not rows:
            fail("PanoramaData", "source", "a place with a readable panorama", repr(source))
        return rows

    def held_out_names(self) -> list[str]:
        """The file names of the held-out panoramas."""
        return list(dict.fromkeys(path.name for path in self.val_set.paths))

    def collate(self, samples: Sequence[PanoramaItem]) -> ErpBatch:
        """Samples as a batch, in training under a layout of its own."""
        batch = collate(samples, self._pad_id)
        if not (self.jitter_deg and samples[0].is_training):
            return batch
        generator = batch_generator(self.seed, samples[0].drawn)
        return replace(batch, layout=self.layout.jittered(self.jitter_deg, generator=generator))

    def on_after_batch_transfer(self, batch: ErpBatch, dataloader_idx: int) -> PanoBatch:
        """Render the views on the device of the batch."""
        return self.viewing.render(batch)

    def specs(self) -> dict[str, Any]:
        """What `runs.load_run` needs of the data."""
        return {"viewing": asdict(self.viewing), "text": asdict(self.text)}


def _listed(source: str | list[str] | None) -> list[str]:
    return [source] if isinstance(source, str) else source or []


def _texts(rows: Sequence[_Row], processor: TextProcessor) -> list[TextSample]:
    """The texts in tokens; an error names the row."""
    samples = []
    for row in rows:
        assert row.caption is not None  # the text stages read captions
        caption = row.caption
        try:
            sample = processor.training(caption.query, caption.answer, instruction=caption.instruction)
        except ValueError as error:
            raise ValueError(f"PanoramaData: {row.origin}: {error}") from error
        samples.append(sample)
    return samples


def _require_files(sources: Sequence[str]) -> Sequence[str]:
    for source in sources:
        if not (source.lower().endswith(".csv") and Path(source).is_file()):
            remedy = "Give CSV files with columns url,query,annotation or url,instruction,response."
            fail("PanoramaData", "source", "a caption file in the text stages", repr(source), remedy)
    return sources


def _require_panoramas(rows: Sequence[_Row]) -> None:
    missing = [row for row in rows if not row.path.is_file()]
    if missing:
        remedy = "Correct the column `url`, or leave such rows out with `on_error` 'skip'."
        where = "" if missing[0].caption is None else f" in {missing[0].origin}"
        got = f"{str(missing[0].path)!r}{where}, {len(missing)} missing in all"
        fail("PanoramaData", "source", "made of panoramas that exist", got, remedy)
