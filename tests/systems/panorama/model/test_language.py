"""The language model: tokenizer, table, sources, LoRA."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

transformers = pytest.importorskip("transformers", reason="needs the extra `panorama`")
pytest.importorskip("peft", reason="needs the extra `panorama`")

from refkp.systems.panorama.model.generation import GenerationSpec  # noqa: E402
from refkp.systems.panorama.model.language import TINY, LanguageModel, LanguageSpec, LoraSpec  # noqa: E402
from refkp.systems.panorama.tokenizer import VISION_TOKEN, load_tokenizer  # noqa: E402

LORA = LoraSpec(rank=4, alpha=8, dropout=0.0)
SPEC = LanguageSpec("tiny", LORA)


def build(spec: LanguageSpec = SPEC) -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(spec)


def logits(model: LanguageModel) -> torch.Tensor:
    embeds = model.embed(torch.tensor([[5, 6, 7, 8]]))
    return model.eval()(embeds, torch.ones(1, 4, dtype=torch.int64), torch.arange(4))


def test_the_tiny_tokenizer_returns_any_text() -> None:
    tokenizer = load_tokenizer(SPEC.source)
    text = "Zwölf Boxkämpfer, 東京 \N{PANDA FACE}\n"
    ids = tokenizer(text).input_ids
    assert len(ids) == len(text.encode())
    assert tokenizer.decode(ids) == text


def test_the_placeholder_is_one_token_and_prompts_are_chatml() -> None:
    tokenizer = load_tokenizer(SPEC.source)
    message = [{"role": "user", "content": f"{VISION_TOKEN}Hi"}]
    prompt = tokenizer.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
    assert prompt == f"<|im_start|>user\n{VISION_TOKEN}Hi<|im_end|>\n<|im_start|>assistant\n"
    ids = tokenizer(prompt).input_ids
    assert ids.count(tokenizer.convert_tokens_to_ids(VISION_TOKEN)) == 1
    assert build().vision_id in ids
    assert tokenizer.padding_side == "right"
    assert tokenizer.pad_token_id != tokenizer.eos_token_id


def test_the_table_is_never_shorter_than_the_loaded_one() -> None:
    """The tokenizer has 261 tokens, the tiny model 300 rows."""
    assert len(load_tokenizer(SPEC.source)) < TINY["vocab_size"]
    assert build().embed(torch.tensor([[TINY["vocab_size"] - 1]])).shape == (1, 1, TINY["hidden_size"])


@pytest.fixture
def saved_model(tmp_path: Path) -> Path:
    """A folder with a model whose table has no room for the placeholder."""
    tokenizer = load_tokenizer(SPEC.source)
    rows = len(tokenizer) - 1
    config = transformers.Qwen2Config(**{**TINY, "vocab_size": rows}, eos_token_id=1)
    torch.manual_seed(1)
    model = transformers.Qwen2ForCausalLM(config)
    model.generation_config = transformers.GenerationConfig(do_sample=True, temperature=0.7, eos_token_id=1)
    model.save_pretrained(tmp_path)
    from refkp.systems.panorama.tokenizer import _byte_tokenizer

    _byte_tokenizer().save_pretrained(tmp_path)
    return tmp_path


def test_a_local_folder_takes_the_same_path(saved_model: Path) -> None:
    spec = LanguageSpec(str(saved_model))
    model = build(spec)
    original = transformers.Qwen2ForCausalLM.from_pretrained(saved_model).eval()
    rows = original.config.vocab_size
    assert load_tokenizer(spec.source).get_vocab() == load_tokenizer(SPEC.source).get_vocab()
    assert model.vision_id == rows
    assert model.embed(torch.tensor([rows])).shape == (1, 64)
    want = original(input_ids=torch.tensor([[5, 6, 7, 8]])).logits
    torch.testing.assert_close(logits(model)[..., :rows], want)


def test_only_the_generation_spec_decides_how_to_generate(saved_model: Path) -> None:
    """The folder asks for sampling; its end token is kept beside the tokenizer's."""
    model = build(LanguageSpec(str(saved_model))).eval()
    assert model.end_ids == [1, 3]
    embeds, mask = model.embed(torch.tensor([[5, 6, 7]])), torch.ones(1, 3, dtype=torch.int64)
    options = GenerationSpec(max_new_tokens=12, min_new_tokens=12)
    first, second = (model.generate(embeds, mask, options) for _ in range(2))
    assert torch.equal(first, second)


def test_logits_of_some_positions_are_those_of_all() -> None:
    model = build()
    embeds, mask = model.embed(torch.tensor([[5, 6, 7, 8]])), torch.ones(1, 4, dtype=torch.int64)
    some = model.eval()(embeds, mask, torch.tensor([1, 3]))
    torch.testing.assert_close(some, logits(model)[:, [1, 3]])


def test_gradient_checkpointing_changes_no_number() -> None:
    def gradients(model: LanguageModel) -> torch.Tensor:
        embeds = torch.linspace(-1, 1, 4 * 64).view(1, 4, 64).requires_grad_()
        model.train()(embeds, torch.ones(1, 4, dtype=torch.int64), torch.arange(4)).square().sum().backward()
        assert embeds.grad is not None
        return embeds.grad

    plain, saving = build(), build(replace(SPEC, gradient_checkpointing=True))
    assert saving.model.get_base_model().is_gradient_checkpointing
    torch.testing.assert_close(gradients(saving), gradients(plain))


def train_adapters(model: LanguageModel) -> None:
    with torch.no_grad():
        for parameter in model.adapter_parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))


def test_fresh_adapters_change_nothing() -> None:
    with_lora, without = build(), build(replace(SPEC, lora=None))
    torch.testing.assert_close(logits(with_lora), logits(without))
    assert len(list(with_lora.adapter_parameters())) == 2 * 7 * TINY["num_hidden_layers"]
    assert list(without.adapter_parameters()) == []


def test_lora_save_load_merge(tmp_path: Path) -> None:
    model = build()
    train_adapters(model)
    want = logits(model)
    model.save_lora(tmp_path)
    other = build()
    assert not torch.allclose(logits(other), want)
    other.load_lora(tmp_path)
    torch.testing.assert_close(logits(other), want)
    other.merge_lora()
    torch.testing.assert_close(logits(other), want)
    assert list(other.adapter_parameters()) == []
    assert not any("lora" in name for name in other.state_dict())


@pytest.mark.parametrize(
    "lora", [replace(LORA, rank=2), replace(LORA, alpha=16), replace(LORA, target_modules=("q_proj",))]
)
def test_adapters_of_another_spec_are_an_error(lora: LoraSpec, tmp_path: Path) -> None:
    build().save_lora(tmp_path)
    with pytest.raises(ValueError, match="load_lora: `folder` must be adapters of this spec"):
        build(LanguageSpec("tiny", lora)).load_lora(tmp_path)


def test_errors(tmp_path: Path) -> None:
    plain = build(replace(SPEC, lora=None))
    for call in (lambda: plain.save_lora(tmp_path), lambda: plain.load_lora(tmp_path), plain.merge_lora):
        with pytest.raises(ValueError, match="`lora` must be set in the LanguageSpec and not merged"):
            call()
    with pytest.raises(
        ValueError, match=r"`target_modules` must be layers of the language model; got no_such_layer"
    ):
        LanguageModel(replace(SPEC, lora=LoraSpec(target_modules=("no_such_layer",))))
    with pytest.raises(ValueError, match="`rank`"):
        LoraSpec(rank=0)
    with pytest.raises(ValueError, match="`dropout`"):
        LoraSpec(dropout=1.0)
    with pytest.raises(ValueError, match="`dtype`"):
        LanguageSpec(dtype="float16")  # type: ignore[arg-type]


def test_a_source_that_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"load_tokenizer: `source` must be a model that can be loaded; got '"
    ):
        LanguageModel(LanguageSpec(str(tmp_path)))


def test_adapters_need_their_layers() -> None:
    with pytest.raises(ValueError, match=r"`target_modules` must be layers of the language model; got q_prj"):
        LanguageModel(LanguageSpec("tiny", LoraSpec(target_modules=("q_prj", "v_proj"))))
