"""Text as tokens: the tokenizers of language models, and what stands for vision tokens and for nothing to learn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from refkp._checks import fail
from refkp._extras import named_extras
from refkp.nn.pretrained import loading

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: The language model of the `base` presets.
QWEN = "Qwen/Qwen2.5-0.5B-Instruct"

#: Stands in a prompt where the vision tokens go.
VISION_TOKEN = "<|vision|>"

#: Label of a position at which nothing is learned.
IGNORE = -100

_UNKNOWN, _PAD, _START, _END = "<unk>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"
_CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def load_tokenizer(source: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a language model, with `VISION_TOKEN`, a pad token and padding on the right.

    Args:
        source: a model name on the Hugging Face hub, a local folder, or "tiny" for one token a byte, without files.

    Raises:
        ValueError: a tokenizer without an end token.
    """
    with named_extras():
        from transformers import AutoTokenizer

    with loading("load_tokenizer", source):
        tokenizer = _byte_tokenizer() if source == "tiny" else AutoTokenizer.from_pretrained(source)
    if tokenizer.eos_token is None:
        fail("load_tokenizer", "source", "a model with an end token", repr(source))
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.add_tokens([VISION_TOKEN], special_tokens=True)
    tokenizer.padding_side = "right"
    return tokenizer


def _byte_tokenizer() -> PreTrainedTokenizerBase:
    """A token for each byte, the four special tokens of ChatML, and its template."""
    with named_extras():
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers
        from transformers import PreTrainedTokenizerFast

    specials = [_UNKNOWN, _PAD, _START, _END]
    symbols = [*specials, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    vocabulary = {symbol: index for index, symbol in enumerate(symbols)}
    backend = Tokenizer(models.BPE(vocabulary, [], unk_token=_UNKNOWN))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token=_UNKNOWN,
        pad_token=_PAD,
        eos_token=_END,
        additional_special_tokens=[_START],
        chat_template=_CHATML,
    )
