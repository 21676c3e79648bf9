"""Prompts, answers, limits and decoding."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("transformers", reason="needs the extra `panorama`")

from refkp.systems.panorama.data.text import TextProcessor, TextSample, TextSpec, collate_text
from refkp.systems.panorama.tokenizer import IGNORE, VISION_TOKEN, load_tokenizer

QUERY, ANSWER = "the bridge", "A bridge at dusk."


@pytest.fixture
def processor() -> TextProcessor:
    return TextProcessor(load_tokenizer("tiny"))


def _processor(**options: object) -> TextProcessor:
    return TextProcessor(load_tokenizer("tiny"), TextSpec(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{}, {"template": "plain"}, {"system": "Be short."}])
def test_training_begins_with_the_prompt_and_learns_answer_and_end(options: dict[str, str]) -> None:
    processor = _processor(**options)
    prompt, sample = processor.prompt(QUERY), processor.training(QUERY, ANSWER)
    assert torch.equal(sample.input_ids[: len(prompt)], prompt)
    assert (sample.labels[: len(prompt)] == IGNORE).all()
    learned = sample.labels[len(prompt) :]
    assert torch.equal(learned, sample.input_ids[len(prompt) :])
    assert learned[-1] == processor.tokenizer.eos_token_id
    assert processor.decode(learned[None]) == [ANSWER]


def test_the_prompt_of_the_chat_template(processor: TextProcessor) -> None:
    assert processor.tokenizer.decode(processor.prompt(QUERY)) == (
        f"<|im_start|>user\n{VISION_TOKEN}\nGive a concise but detailed description of "
        f'"{QUERY}" in this panorama.<|im_end|>\n<|im_start|>assistant\n'
    )


def test_the_plain_prompt_and_instructions() -> None:
    plain = _processor(template="plain", system="Look around.")
    text = plain.tokenizer.decode(plain.prompt("Is it {dark}?", instruction=True))
    assert text == f"Look around.\n{VISION_TOKEN}\nIs it {{dark}}?\n"


def test_template_options_reach_the_template() -> None:
    tokenizer = load_tokenizer("tiny")
    tokenizer.chat_template += "{% if not enable_thinking %}<think></think>{% endif %}"
    prompts = [
        TextProcessor(tokenizer, TextSpec(template_options={"enable_thinking": thinks})).prompt(QUERY)
        for thinks in (True, False)
    ]
    assert tokenizer.decode(prompts[1][len(prompts[0]) :]) == "<think></think>"


def test_truncation_cuts_the_answer_alone() -> None:
    length = len(_processor().prompt(QUERY))
    cut = _processor(max_length=length + 4, overflow="truncate")
    sample = cut.training(QUERY, ANSWER)
    assert cut.decode(sample.labels[None, length:]) == [ANSWER[:4].strip()]
    assert cut.tokenizer.eos_token_id not in sample.labels
    with pytest.raises(ValueError, match="left with a token after truncation"):
        _processor(max_length=length, overflow="truncate").training(QUERY, ANSWER)
    for overflow in ("error", "truncate"):  # a prompt is never cut
        with pytest.raises(ValueError, match=rf"`query` must be short enough for {length - 1} tokens"):
            _processor(max_length=length - 1, overflow=overflow).training(QUERY, ANSWER)


def test_too_long_is_an_error_by_default() -> None:
    length = len(_processor().training(QUERY, ANSWER).input_ids)
    assert len(_processor(max_length=length).training(QUERY, ANSWER).input_ids) == length
    rule = rf"short enough for {length - 1} tokens in all; got {length} tokens"
    with pytest.raises(ValueError, match=rule):
        _processor(max_length=length - 1).training(QUERY, ANSWER)


@pytest.mark.parametrize("token", [VISION_TOKEN, "<|im_end|>"])
def test_user_text_with_special_tokens_is_refused(token: str, processor: TextProcessor) -> None:
    with pytest.raises(ValueError, match="`query` must be free of special tokens"):
        processor.prompt(f"a {token}")
    with pytest.raises(ValueError, match="`answer` must be free of special tokens"):
        processor.training(QUERY, f"a {token}")
    with pytest.raises(ValueError, match="`answer` must be a text"):
        processor.training(QUERY, "  ")
    with pytest.raises(ValueError, match="`query` must be a text"):
        processor.prompt("")


def test_a_template_that_drops_or_repeats_the_placeholder_is_refused() -> None:
    tokenizer = load_tokenizer("tiny")
    tokenizer.chat_template = "nothing of the message"
    with pytest.raises(ValueError, match=r"once; got 0"):
        TextProcessor(tokenizer).prompt(QUERY)
    with pytest.raises(ValueError, match=r"once; got 2"):
        _processor(system=f"See {VISION_TOKEN}.").prompt(QUERY)


def test_tokenizers_that_lack_something_are_refused() -> None:
    tokenizer = load_tokenizer("tiny")
    tokenizer.chat_template = None
    with pytest.raises(ValueError, match=r"one with a chat template.*Set `template` to 'plain'"):
        TextProcessor(tokenizer)
    assert len(TextProcessor(tokenizer, TextSpec(template="plain")).prompt(QUERY)) > 1
    tokenizer.pad_token = None
    with pytest.raises(ValueError, match="one with `pad_token_id`"):
        TextProcessor(tokenizer, TextSpec(template="plain"))


def test_specs_are_checked() -> None:
    with pytest.raises(ValueError, match=r"`\{query\}` in it once"):
        TextSpec(query_template="What is it?")
    with pytest.raises(ValueError, match="overflow"):
        TextSpec(overflow="cut")  # type: ignore[arg-type]


def test_decoding_stops_at_the_end_and_drops_thoughts(processor: TextProcessor) -> None:
    end = processor.tokenizer.eos_token_id
    rows = [
        [*processor._ids("A door."), end, *processor._ids("more")],
        [*processor._ids("<think>hm</think> A wall."), processor.pad_id],
        [*processor._ids("hm</think>A hall.")],  # the prompt had opened the thought
        [*processor._ids("<think>never done")],
    ]
    width = max(map(len, rows))
    ids = torch.tensor([row + [processor.pad_id] * (width - len(row)) for row in rows])
    assert processor.decode(ids) == ["A door.", "A wall.", "A hall.", ""]


def test_collate_pads_right_with_the_pad_id(processor: TextProcessor) -> None:
    short, long = processor.training("a", "b"), processor.training("a", "longer")
    batch = collate_text([short, long], processor.pad_id)
    extra = len(long.input_ids) - len(short.input_ids)
    assert batch.labels is not None
    assert batch.input_ids[0, -extra:].tolist() == [processor.pad_id] * extra
    assert batch.attention_mask[0].tolist() == [1] * len(short.input_ids) + [0] * extra
    assert (batch.labels[0, -extra:] == IGNORE).all()
    assert torch.equal(batch.input_ids[1], long.input_ids)


def test_prompts_have_no_labels_and_do_not_mix(processor: TextProcessor) -> None:
    prompt = TextSample(processor.prompt("a"), torch.empty(0, dtype=torch.long))
    assert collate_text([prompt, prompt], processor.pad_id).labels is None
    with pytest.raises(ValueError, match="all with labels or all without"):
        collate_text([prompt, processor.training("a", "b")], processor.pad_id)
