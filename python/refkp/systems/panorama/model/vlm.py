"""The panorama vision-language model: vision stage, projector, fusion, language model.

One forward pass for all stages; what is trained is chosen in `stages`. The layout comes with the batch and no
state is set on the model. Source: spec panorama 4.1, 4.2, 11, 14.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from refkp._checks import fail
from refkp.nn.ranks import Mean
from refkp.systems.panorama.batch import PanoBatch, TextBatch
from refkp.systems.panorama.model.fusion import FusedSequence, language_fuse, pad_left
from refkp.systems.panorama.model.generation import GenerationSpec
from refkp.systems.panorama.model.language import LanguageModel, LanguageSpec
from refkp.systems.panorama.model.projector import PanoramaProjector, ProjectorSpec
from refkp.systems.panorama.model.resampler import ViewTokens
from refkp.systems.panorama.model.vision import VisionFeatures, VisionStage, VisionStageSpec
from refkp.systems.panorama.tokenizer import IGNORE, VISION_TOKEN


@dataclass(frozen=True)
class PanoramaVLMSpec:
    """The networks of all stages.

    Args:
        vision, projector, language: their specs; the vision stage reads the first alone.
    """

    vision: VisionStageSpec = field(default_factory=VisionStageSpec)
    projector: ProjectorSpec = field(default_factory=ProjectorSpec)
    language: LanguageSpec = field(default_factory=LanguageSpec)


class PanoOutput(NamedTuple):
    """What a forward pass computes; T counts the labelled text tokens of the whole batch."""

    features: VisionFeatures
    caption: Mean | None  # float32 cross entropy of the labelled tokens; None without text
    logits: Tensor | None  # float32 [T,vocabulary], the predictions of the labelled tokens alone
    labels: Tensor | None  # int64 [T], row by row

    @property
    def loss(self) -> Tensor | None:
        """Float32 scalar, the caption loss of this rank's batch; None without text."""
        return None if self.caption is None else self.caption.value


class PanoramaVLM(nn.Module):
    """Views and texts to features, caption loss and answers.

    Args:
        spec: the networks.
        with_language: build the projector and the language model; the vision stage needs neither. The names
            of the vision parameters are the same.
    """

    def __init__(self, spec: PanoramaVLMSpec, *, with_language: bool = True) -> None:
        super().__init__()
        self.spec = spec
        self.with_language = with_language
        self.vision = VisionStage(spec.vision)
        if with_language:
            self.language = LanguageModel(spec.language)
            self.projector = PanoramaProjector(spec.projector, self.vision.dim, self.language.dim)

    def forward(self, batch: PanoBatch) -> PanoOutput:
        """Features of every view and, where the batch has texts, their caption loss.

        Raises:
            ValueError: views that are not those of the layout, text without language model, a text without
                placeholder, without labels, or in which nothing is labelled.
        """
        tokens = self._view_tokens(batch)
        features = VisionFeatures(tokens.tokens, self.vision.head(tokens.tokens))
        if batch.text is None:
            return PanoOutput(features, None, None, None)
        fused = self._fuse(batch, batch.text, tokens)
        logits, labels = self._predictions(fused, batch.names)
        entropy = functional.cross_entropy(logits, labels, reduction="none")
        return PanoOutput(features, Mean.over(entropy), logits, labels)

    @torch.no_grad()
    def generate(self, batch: PanoBatch, options: GenerationSpec | None = None) -> Tensor:
        """Answers to the prompts of a batch: int64 [B,N] new token ids, padded after their end token.

        Raises:
            ValueError: a batch without text, a model in training mode, or as in `forward`.
        """
        if batch.text is None:
            fail("PanoramaVLM.generate", "batch.text", "the prompts", None)
        if self.training:
            fail("PanoramaVLM.generate", "model", "in evaluation mode", "training mode", "Call `.eval()`.")
        fused = pad_left(self._fuse(batch, batch.text, self._view_tokens(batch)))
        return self.language.generate(fused.inputs_embeds, fused.attention_mask, options or GenerationSpec())

    def _view_tokens(self, batch: PanoBatch) -> ViewTokens:
        if batch.views.shape[1] != batch.layout.num_views:
            rule = f"the {batch.layout.num_views} views of the layout"
            fail("PanoramaVLM", "views", rule, batch.views.shape[1])
        return self.vision.view_tokens(batch.views)

    def _fuse(self, batch: PanoBatch, text: TextBatch, tokens: ViewTokens) -> FusedSequence:
        if not self.with_language:
            remedy = "Build it with `with_language=True`, or leave the text out."
            fail("PanoramaVLM", "batch.text", "None for a model without language", "texts", remedy)
        _require_placeholder(text, self.language.vision_id, batch.names)
        return language_fuse(
            text.input_ids,
            self.language.embed(text.input_ids),
            self.projector(tokens, batch.layout, batch.world_from_rig),
            self.language.vision_id,
            attention_mask=text.attention_mask,
            labels=text.labels,
        )

    def _predictions(self, fused: FusedSequence, names: tuple[str, ...]) -> tuple[Tensor, Tensor]:
        """Float32 logits [T,vocabulary] that predict the labelled tokens, and their labels [T].

        The head of the language model runs on the positions that any row of the batch has labelled, so never
        on vision tokens.
        """
        if fused.labels is None:
            fail("PanoramaVLM", "batch.text.labels", "given for the caption loss", None)
        labels = fused.labels[:, 1:]
        labelled = labels != IGNORE
        empty = (~labelled.any(1)).nonzero()[:, 0].tolist()
        if empty:
            got = f"none in {[names[index] for index in empty]}"
            remedy = "The answer may have been truncated; raise the text's `max_length`."
            fail("PanoramaVLM", "batch.text.labels", "labels of at least one token of each text", got, remedy)
        positions = labelled.any(0).nonzero()[:, 0]
        logits = self.language(fused.inputs_embeds, fused.attention_mask, positions)
        return logits[labelled[:, positions]].float(), labels[labelled]


def _require_placeholder(text: TextBatch, vision_id: int, names: tuple[str, ...]) -> None:
    """The model reads one placeholder per text; `language_fuse` alone would collapse several."""
    count = (text.input_ids == vision_id).sum(1).tolist()
    wrong = {name: found for name, found in zip(names, count, strict=True) if found != 1}
    if wrong:
        remedy = f"Write {VISION_TOKEN} into each prompt once."
        fail("PanoramaVLM", "batch.text.input_ids", "texts with one vision placeholder", wrong, remedy)
