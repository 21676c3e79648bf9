"""The language model of the panorama model: from the hub, a folder, or tiny with random weights; LoRA on it.

Hub models and tiny ones take the same path; only the loader differs. Source: spec panorama 4.1, 4.5, 5
(LoRA) and 7.16.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from refkp._checks import fail, require_choice
from refkp._extras import named_extras
from refkp.nn.pretrained import loading
from refkp.systems.panorama.model.generation import GenerationSpec
from refkp.systems.panorama.tokenizer import QWEN, VISION_TOKEN, load_tokenizer

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedTokenizerBase

#: The language model of tests, demos and the `tiny` presets.
TINY: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
    # Logits are at most about |h| |e| = sqrt(64) x range x sqrt(64). With the usual 0.02 frozen random embeddings
    # could not express a certain answer, and adapters alone would learn nothing.
    "initializer_range": 0.125,
}


@dataclass(frozen=True)
class LoraSpec:
    """Low-rank adapters on the linear layers of the language model (Hu et al. 2021).

    Args:
        rank: of the two factors.
        alpha: the update is scaled by alpha / rank.
        dropout: on the input of the adapters, in [0,1).
        target_modules: names of the linear layers that get one.
    """

    rank: int = 32
    alpha: int = 64
    dropout: float = 0.1
    target_modules: tuple[str, ...] = (
        *("q_proj", "k_proj", "v_proj", "o_proj"),
        *("gate_proj", "up_proj", "down_proj"),
    )

    def __post_init__(self) -> None:
        if self.rank < 1:
            fail("LoraSpec", "rank", "at least 1", self.rank)
        if not 0 <= self.dropout < 1:
            fail("LoraSpec", "dropout", "in [0,1)", self.dropout)


@dataclass(frozen=True)
class LanguageSpec:
    """Which language model, and how it is trained.

    Args:
        source: a model name on the Hugging Face hub, a local folder, or "tiny" (random weights and a byte
            tokenizer, no files).
        lora: adapters for the finetune stage; None trains every parameter of the model there.
        dtype: of the weights; the adapters are always float32.
        gradient_checkpointing: compute the activations of each layer again in the backward pass.
    """

    source: str = QWEN
    lora: LoraSpec | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        require_choice("LanguageSpec", "dtype", self.dtype, ("float32", "bfloat16"))


class LanguageModel(nn.Module):
    """A causal language model that reads embeddings.

    Its token table has room for `VISION_TOKEN` and is never shorter than the one that was loaded. LoRA
    adapters change nothing until they are trained.
    """

    def __init__(self, spec: LanguageSpec) -> None:
        super().__init__()
        self.spec = spec
        tokenizer = load_tokenizer(spec.source)
        self.vision_id: int = tokenizer.added_tokens_encoder[VISION_TOKEN]
        self.pad_id: int = tokenizer.pad_token_id
        model = _causal_model(spec)
        self.end_ids = _end_ids(model, tokenizer)
        if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
            model.resize_token_embeddings(len(tokenizer))
        if spec.gradient_checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        self.model: Any = model if spec.lora is None else _with_lora(model, spec.lora)

    @property
    def dim(self) -> int:
        """Size of a token embedding."""
        return self.model.get_input_embeddings().embedding_dim

    def embed(self, input_ids: Tensor) -> Tensor:
        """Embeddings [B,L,D] of token ids [B,L]."""
        return self.model.get_input_embeddings()(input_ids)

    def forward(self, inputs_embeds: Tensor, attention_mask: Tensor, positions: Tensor) -> Tensor:
        """Logits [B,K,vocabulary] at `positions` [K] of sequences [B,N,D] with their mask [B,N]."""
        output = self.model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            logits_to_keep=positions,
            use_cache=False,
        )
        return output.logits

    def generate(self, inputs_embeds: Tensor, attention_mask: Tensor, options: GenerationSpec) -> Tensor:
        """New token ids [B,N] after sequences [B,N,D] that are padded on the left; padded after their end token."""
        return self.model.generate(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            generation_config=generation_config(options, self.pad_id, self.end_ids),
        )

    def adapter_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters of the LoRA adapters; none without LoRA or once they are merged."""
        return (parameter for name, parameter in self.model.named_parameters() if "lora_" in name)

    def save_lora(self, folder: Path | str) -> None:
        """Write the adapters, and nothing else, to a folder that `load_lora` reads."""
        self._require_lora("save_lora")
        self.model.save_pretrained(str(folder), save_embedding_layers=False)

    def load_lora(self, folder: Path | str) -> None:
        """Read adapters that `save_lora` wrote.

        Raises:
            ValueError: adapters of another rank or on other layers than those of the spec.
        """
        self._require_lora("load_lora")
        with named_extras():
            from peft import LoraConfig, load_peft_weights, set_peft_model_state_dict

        weights = load_peft_weights(str(folder), device="cpu")
        mine = [tuple(parameter.shape) for parameter in self.adapter_parameters()]
        found = [tuple(weight.shape) for weight in weights.values()]
        alpha = LoraConfig.from_pretrained(str(folder)).lora_alpha
        if sorted(mine) != sorted(found) or self.spec.lora is None or alpha != self.spec.lora.alpha:
            got = f"{len(found)} factors with alpha {alpha} where {len(mine)} are wanted, or of other shapes"
            remedy = "Use the rank, alpha and target modules that they were trained with."
            fail("load_lora", "folder", "adapters of this spec", got, remedy)
        result: Any = set_peft_model_state_dict(self.model, weights)
        if result.unexpected_keys:
            fail(
                "load_lora",
                "folder",
                "adapters of the layers of this model",
                f"those of {result.unexpected_keys[:3]}",
            )

    def merge_lora(self) -> None:
        """Add the adapters to the weights and drop them."""
        self._require_lora("merge_lora")
        self.model = self.model.merge_and_unload()

    def _require_lora(self, function: str) -> None:
        if next(self.adapter_parameters(), None) is None:
            fail(function, "lora", "set in the LanguageSpec and not merged", "a model without adapters")


def _causal_model(spec: LanguageSpec) -> Any:
    with named_extras():
        from transformers import AutoModelForCausalLM, Qwen2Config

    options: dict[str, Any] = {"attn_implementation": "sdpa", "dtype": getattr(torch, spec.dtype)}
    if spec.source == "tiny":
        return AutoModelForCausalLM.from_config(Qwen2Config(**TINY), **options)
    with loading("LanguageModel", spec.source):
        return AutoModelForCausalLM.from_pretrained(spec.source, **options)


def _end_ids(model: Any, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens that end an answer. Every other habit of generation is taken out of the loaded model: only a
    GenerationSpec decides."""
    with named_extras():
        from transformers import GenerationConfig

    ends = model.generation_config.eos_token_id
    model.generation_config = GenerationConfig()
    listed = ends if isinstance(ends, list) else [] if ends is None else [ends]
    return sorted({tokenizer.eos_token_id, *listed})


def generation_config(options: GenerationSpec, pad_id: int, end_ids: list[int]) -> GenerationConfig:
    """The configuration of transformers, with every choice made here and none left to the loaded model."""
    with named_extras():
        from transformers import GenerationConfig

    choices = asdict(options)
    if not options.do_sample:
        for name in ("temperature", "top_p", "top_k"):
            del choices[name]
    return GenerationConfig(**choices, pad_token_id=pad_id, eos_token_id=end_ids, use_cache=True)


def _with_lora(model: Any, spec: LoraSpec) -> nn.Module:
    with named_extras():
        from peft import LoraConfig, TaskType, get_peft_model

    modules = [f".{name}" for name, _ in model.named_modules()]
    absent = [name for name in spec.target_modules if not any(m.endswith(f".{name}") for m in modules)]
    if absent or not spec.target_modules:
        fail("LoraSpec", "target_modules", "layers of the language model", ", ".join(absent) or "none")
    config = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=spec.rank,
        lora_alpha=spec.alpha,
        lora_dropout=spec.dropout,
        target_modules=list(spec.target_modules),
        bias="none",
    )
    with warnings.catch_warnings():  # peft asks transformers by a name of its past
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        return get_peft_model(model, config)
