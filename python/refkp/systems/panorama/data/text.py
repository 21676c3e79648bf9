"""Prompts and answers as tokens, and generated tokens as text. Source: spec panorama 4.4.

Prompt and answer are tokenised apart, so a training sample begins with exactly the tokens that generation
begins with, and only the answer and its end token are learned.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn

import torch
from torch import Tensor

from refkp._checks import fail, require_choice
from refkp.systems.panorama.batch import TextBatch
from refkp.systems.panorama.tokenizer import IGNORE, VISION_TOKEN

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class TextSpec:
    """How texts become tokens.

    Args:
        template: "chat" is the tokenizer's own chat template, "plain" puts the parts below each other for
            models without one.
        template_options: further arguments of the chat template, e.g. {"enable_thinking": false} for Qwen3.
        system: the system prompt; None for none.
        query_template: what is asked about a `{query}` of a caption file; whole instructions skip it.
        max_length: most tokens of prompt, answer and end token, the placeholder counted once.
        overflow: what to do with a longer text: "error", or "truncate" the end of its answer.
    """

    template: Literal["chat", "plain"] = "chat"
    template_options: Mapping[str, Any] = field(default_factory=dict)
    system: str | None = None
    query_template: str = 'Give a concise but detailed description of "{query}" in this panorama.'
    max_length: int = 512
    overflow: Literal["error", "truncate"] = "error"

    def __post_init__(self) -> None:
        require_choice("TextSpec", "template", self.template, ("chat", "plain"))
        require_choice("TextSpec", "overflow", self.overflow, ("error", "truncate"))
        if self.query_template.count("{query}") != 1:
            fail("TextSpec", "query_template", "a text with `{query}` in it once", repr(self.query_template))
        if self.max_length < 1:
            fail("TextSpec", "max_length", "at least 1", self.max_length)


class TextSample(NamedTuple):
    """One text in tokens."""

    input_ids: Tensor  # int64 [L], with the placeholder of the panorama once
    labels: Tensor  # int64 [L], -100 on the prompt; [0] for a prompt alone


class TextProcessor:
    """Texts to tokens and back.

    Args:
        tokenizer: with the placeholder `VISION_TOKEN`, an end token and a pad token (`load_tokenizer`).
        spec: template and limits.

    Raises:
        ValueError: the tokenizer lacks one of these, or a chat template that is asked for.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, spec: TextSpec = TextSpec()) -> None:
        self.tokenizer, self.spec = tokenizer, spec
        if spec.template == "chat" and not tokenizer.chat_template:
            remedy = "Set `template` to 'plain', or take an instruction-tuned language model."
            fail("TextProcessor", "tokenizer", "one with a chat template", type(tokenizer).__name__, remedy)
        for name in ("eos_token_id", "pad_token_id"):
            if getattr(tokenizer, name) is None:
                remedy = "`load_tokenizer` sets it."
                fail("TextProcessor", "tokenizer", f"one with `{name}`", "None", remedy)
        self._vision_id: Any = tokenizer.convert_tokens_to_ids(VISION_TOKEN)
        if tokenizer.convert_ids_to_tokens(self._vision_id) != VISION_TOKEN:
            remedy = "`load_tokenizer` adds it."
            fail("TextProcessor", "tokenizer", f"one that knows {VISION_TOKEN}", "one that does not", remedy)
        self._special = tuple({VISION_TOKEN, *tokenizer.all_special_tokens})

    @property
    def pad_id(self) -> int:
        """The token that fills a batch of unequal texts."""
        return int(self.tokenizer.pad_token_id)

    def prompt(self, query: str, *, instruction: bool = False) -> Tensor:
        """The tokens with which generation begins, int64 [L].

        Args:
            query: what the panorama is asked about.
            instruction: `query` is the whole instruction, `query_template` does not apply.

        Raises:
            ValueError: `query` is empty or holds a special token, or the prompt is longer than `max_length`.
        """
        self._require_text("query", query)
        text = query if instruction else self.spec.query_template.replace("{query}", query)
        ids = self._prompt_ids(f"{VISION_TOKEN}\n{text}")
        if (count := ids.count(self._vision_id)) != 1:
            remedy = "Correct `system`, or the tokenizer's chat template."
            fail("TextProcessor", "query", f"turned into a prompt with {VISION_TOKEN} once", count, remedy)
        if len(ids) > self.spec.max_length:
            self._too_long("query", len(ids))
        return torch.tensor(ids)

    def training(self, query: str, answer: str, *, instruction: bool = False) -> TextSample:
        """The tokens of prompt, answer and end token, and what of them is learned.

        A truncated answer has no end token: the model does not learn to stop in the middle.

        Args:
            query, instruction: as in `prompt`.
            answer: what the model should say.

        Raises:
            ValueError: `answer` is empty or holds a special token, the whole is longer than `max_length`
                under `overflow` "error", or truncation leaves nothing of the answer.
        """
        prompt = self.prompt(query, instruction=instruction)
        self._require_text("answer", answer)
        ids = [*self._ids(answer.strip()), int(self.tokenizer.eos_token_id)]
        room = self.spec.max_length - len(prompt)
        if len(ids) > room and self.spec.overflow == "error":
            self._too_long("answer", len(prompt) + len(ids))
        if room < 1:
            remedy = "Raise `max_length`, or shorten the query."
            fail("TextProcessor", "answer", "left with a token after truncation", "none", remedy)
        learned = torch.tensor(ids[:room])
        labels = torch.cat((torch.full_like(prompt, IGNORE), learned))
        return TextSample(torch.cat((prompt, learned)), labels)

    def decode(self, generated: Tensor) -> list[str]:
        """Texts of generated tokens [B,N]: without what follows the end token, special tokens and thoughts."""
        return [self._decode(row) for row in generated.tolist()]

    def _decode(self, ids: list[int]) -> str:
        end = self.tokenizer.eos_token_id
        ids = ids[: ids.index(end)] if end in ids else ids
        text = str(self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))
        return strip_thoughts(text)

    def _prompt_ids(self, content: str) -> list[int]:
        spec = self.spec
        if spec.template == "chat":
            system = [] if spec.system is None else [{"role": "system", "content": spec.system}]
            text = self.tokenizer.apply_chat_template(
                [*system, {"role": "user", "content": content}],
                tokenize=False,
                add_generation_prompt=True,
                **spec.template_options,
            )
            return self._ids(str(text))
        begin = self.tokenizer.bos_token_id
        parts = [content, ""] if spec.system is None else [spec.system, content, ""]
        return ([] if begin is None else [int(begin)]) + self._ids("\n".join(parts))

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _require_text(self, argument: str, text: str) -> None:
        if not text.strip():
            fail("TextProcessor", argument, "a text", repr(text))
        found = [token for token in self._special if token in text]
        if found:
            remedy = "The placeholder is added by the processor; remove such tokens from the text."
            fail("TextProcessor", argument, "free of special tokens", ", ".join(found), remedy)

    def _too_long(self, argument: str, length: int) -> NoReturn:
        remedy = "Raise `max_length`, shorten the text"
        remedy += ", or set `overflow` to 'truncate'." if argument == "answer" else "."
        limit = f"short enough for {self.spec.max_length} tokens in all"
        fail("TextProcessor", argument, limit, f"{length} tokens", remedy)


def strip_thoughts(text: str) -> str:
    """The answer of a thinking model: without its thoughts, finished or not, and outer spaces.

    >>> strip_thoughts("<think> a door? </think> A red door."), strip_thoughts("<think> a do")
    ('A red door.', '')
    """
    answer = text.rpartition("</think>")[2]
    return re.sub(r"<think>.*", "", answer, flags=re.DOTALL).strip()


def collate_text(samples: Sequence[TextSample], pad_id: int) -> TextBatch:
    """Texts of unequal length as one batch, padded on the right with `pad_id`, labels with -100.

    Prompts alone (no labels) give a batch without labels; the two kinds cannot be mixed.
    """
    with_labels = {sample.labels.numel() > 0 for sample in samples}
    if len(with_labels) != 1:
        fail("collate_text", "samples", "all with labels or all without", "both kinds, or none")
    ids = [sample.input_ids for sample in samples]
    mask = _pad([torch.ones_like(row) for row in ids], 0)
    labels = _pad([sample.labels for sample in samples], IGNORE) if with_labels.pop() else None
    return TextBatch(_pad(ids, pad_id), mask, labels)


def _pad(rows: list[Tensor], value: int) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)
