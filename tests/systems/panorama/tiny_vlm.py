"""A tiny vision-language model and two captioned panoramas for it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from refkp.nn.encoders import EncoderSpec
from refkp.systems.panorama.batch import PanoBatch, TextBatch
from refkp.systems.panorama.model.language import LanguageSpec, LoraSpec
from refkp.systems.panorama.model.resampler import ResamplerSpec
from refkp.systems.panorama.model.vision import VisionStageSpec
from refkp.systems.panorama.model.vlm import PanoramaVLM, PanoramaVLMSpec
from refkp.systems.panorama.tokenizer import VISION_TOKEN, load_tokenizer
from refkp.systems.panorama.views.layout import ErpLayout

LORA = LoraSpec(rank=4, alpha=8, dropout=0.0)
SPEC = PanoramaVLMSpec(
    VisionStageSpec(EncoderSpec("tiny", 16, train_blocks=1), ResamplerSpec("mlp", dim=24, depth=2)),
    language=LanguageSpec("tiny", LORA),
)
LAYOUT = ErpLayout.build(hfov_deg=90.0, overlap=0.0)  # a global view and four tiles
QUERIES = ("Describe it.", "What?")
ANSWERS = ("a red room", "the sea")

_TOKENIZER = load_tokenizer(SPEC.language.source)


def build(spec: PanoramaVLMSpec = SPEC, seed: int = 0, *, with_language: bool = True) -> PanoramaVLM:
    """A model whose random weights are those of `seed`."""
    torch.manual_seed(seed)
    return PanoramaVLM(spec, with_language=with_language)


def training_batch(layout: ErpLayout = LAYOUT) -> PanoBatch:
    """Views of noise with query and answer; labels on the answer and its end."""
    generator = torch.Generator().manual_seed(1)
    views = torch.rand(2, layout.num_views, 3, 16, 16, generator=generator)
    return PanoBatch(views, torch.eye(3).expand(2, 3, 3), ("a", "b"), layout, _texts(with_answers=True))


def prompt_batch(layout: ErpLayout = LAYOUT) -> PanoBatch:
    """The same without answers."""
    return replace(training_batch(layout), text=_texts(with_answers=False))


def decode(ids: Tensor) -> list[str]:
    """The texts of generated ids."""
    return _TOKENIZER.batch_decode(ids, skip_special_tokens=True)


def _texts(*, with_answers: bool) -> TextBatch:
    prompts = [
        _TOKENIZER.apply_chat_template(
            [{"role": "user", "content": VISION_TOKEN + query}], add_generation_prompt=True, tokenize=False
        )
        for query in QUERIES
    ]
    before = [_TOKENIZER(prompt).input_ids for prompt in prompts]
    if not with_answers:
        return TextBatch(_pad(before, _TOKENIZER.pad_token_id), _pad([[1] * len(row) for row in before], 0))
    after = [_TOKENIZER(answer + _TOKENIZER.eos_token).input_ids for answer in ANSWERS]
    rows = [prompt + answer for prompt, answer in zip(before, after, strict=True)]
    labels = [[-100] * len(prompt) + answer for prompt, answer in zip(before, after, strict=True)]
    mask = [[1] * len(row) for row in rows]
    return TextBatch(_pad(rows, _TOKENIZER.pad_token_id), _pad(mask, 0), _pad(labels, -100))


def _pad(rows: list[list[int]], value: int) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([row + [value] * (longest - len(row)) for row in rows])
