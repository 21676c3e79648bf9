"""The whole model: forward contracts, caption loss, generation, misuse."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

pytest.importorskip("transformers", reason="needs the extra `panorama`")
pytest.importorskip("peft", reason="needs the extra `panorama`")

from refkp.systems.panorama.batch import PanoBatch, TextBatch
from refkp.systems.panorama.model.generation import GenerationSpec
from refkp.systems.panorama.model.projector import ProjectorSpec
from refkp.systems.panorama.model.resampler import ResamplerSpec
from refkp.systems.panorama.model.trainable import select_stage
from refkp.systems.panorama.model.vlm import PanoramaVLM
from refkp.systems.panorama.views.layout import ErpLayout
from tests.systems.panorama.tiny_vlm import (
    ANSWERS,
    LAYOUT,
    SPEC,
    build,
    decode,
    prompt_batch,
    training_batch,
)


def texts(batch: PanoBatch) -> TextBatch:
    assert batch.text is not None
    return batch.text


def test_with_and_without_text() -> None:
    model, batch = build(), training_batch()
    out = model(batch)
    assert out.features.tokens.shape == (2, 5, 4, 24)
    assert out.features.projected.shape == (2, 5, 4, 24)
    count = sum(len(answer) + 1 for answer in ANSWERS)
    assert out.logits.shape == (count, 300)
    assert out.labels.shape == (count,)
    assert out.loss.dtype == out.logits.dtype == torch.float32
    silent = model(replace(batch, text=None))
    assert silent[1:] == (None, None, None)
    torch.testing.assert_close(silent.features.tokens, out.features.tokens)


def test_the_vision_stage_alone_has_the_same_weights_and_features() -> None:
    alone, whole = build(with_language=False), build()
    assert set(alone.state_dict()) == {name for name in whole.state_dict() if name.startswith("vision.")}
    batch = replace(training_batch(), text=None)
    torch.testing.assert_close(alone(batch).features.tokens, whole(batch).features.tokens)


def test_the_loss_is_the_cross_entropy_of_the_whole_fused_sequence() -> None:
    """Against all logits of the fused sequence, the placeholder replaced by 18 vision tokens."""
    model, batch = build().eval(), training_batch()
    text = texts(batch)
    tokens = model.vision.view_tokens(batch.views)
    vision = model.projector(tokens, batch.layout, batch.world_from_rig)
    losses = []
    for row in range(2):
        length = int(text.attention_mask[row].sum())
        ids, labels = text.input_ids[row, :length], text.labels[row, :length]  # type: ignore[index]
        place = int((ids == model.language.vision_id).nonzero())
        embeds = model.language.embed(ids)
        fused = torch.cat((embeds[:place], vision[row], embeds[place + 1 :]))[None]
        assert fused.shape[1] == vision.shape[1] + length - 1
        logits = model.language.model(inputs_embeds=fused).logits[0]
        answer = labels[labels != -100]
        losses.append(
            torch.nn.functional.cross_entropy(logits[-len(answer) - 1 : -1], answer, reduction="sum")
        )
    want = sum(losses) / sum(len(answer) + 1 for answer in ANSWERS)
    torch.testing.assert_close(model(batch).loss, want)


def test_logits_are_computed_where_a_row_is_labelled_and_nowhere_else() -> None:
    """The head of the language model never sees the vision tokens of the sequence."""
    model, seen = build(), []
    head = model.language.model.get_output_embeddings()
    head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    batch = training_batch()
    model(batch)
    labelled = (texts(batch).labels != -100).any(0)  # type: ignore[union-attr]
    assert seen == [(2, int(labelled.sum()), 64)]


def test_padding_of_the_text_changes_nothing() -> None:
    model, batch = build().eval(), training_batch()
    text = texts(batch)
    longer = TextBatch(
        torch.nn.functional.pad(text.input_ids, (0, 5), value=model.language.pad_id),
        torch.nn.functional.pad(text.attention_mask, (0, 5)),
        torch.nn.functional.pad(text.labels, (0, 5), value=-100),  # type: ignore[arg-type]
    )
    torch.testing.assert_close(model(replace(batch, text=longer)).loss, model(batch).loss)


def test_the_views_reach_the_caption() -> None:
    model, batch = build().eval(), training_batch()
    other = replace(batch, views=batch.views.flip(0))
    assert float((model(batch).loss - model(other).loss).detach().abs()) > 1e-5


def overfitted() -> PanoramaVLM:
    """All of the tiny language model trained on two captions."""
    model = build(replace(SPEC, language=replace(SPEC.language, lora=None)))
    select_stage(model, "finetune")
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-3)
    batch = training_batch()
    for _ in range(50):
        optimizer.zero_grad()
        model(batch).loss.backward()
        optimizer.step()
    return model.eval()


def test_a_caption_that_was_learned_is_generated() -> None:
    """Training and generation agree on the place of the vision tokens, and padding on the left is no matter."""
    model = overfitted()
    assert model(training_batch()).loss.item() < 0.05
    prompts = prompt_batch()
    ids = model.generate(prompts, GenerationSpec(max_new_tokens=16))
    assert decode(ids) == list(ANSWERS)
    for row in range(2):
        text = texts(prompts)
        length = int(text.attention_mask[row].sum())
        alone = PanoBatch(
            prompts.views[row : row + 1],
            prompts.world_from_rig[row : row + 1],
            prompts.names[row : row + 1],
            prompts.layout,
            TextBatch(text.input_ids[row : row + 1, :length], text.attention_mask[row : row + 1, :length]),
        )
        assert decode(model.generate(alone, GenerationSpec(max_new_tokens=16))) == [ANSWERS[row]]


def test_the_first_generated_token_is_the_likeliest_of_the_forward_pass() -> None:
    """Same placeholder, same sequence: the prompt of generation is the beginning of the training text."""
    model = build().eval()
    first = model.generate(prompt_batch(), GenerationSpec(max_new_tokens=1))[:, 0]
    out = model(training_batch())
    starts = [0, len(ANSWERS[0]) + 1]
    assert first.tolist() == out.logits[starts].argmax(-1).tolist()


def test_generation_repeats() -> None:
    model = build().eval()
    options = GenerationSpec(max_new_tokens=8, do_sample=True, top_k=20)
    runs = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        runs.append(model.generate(prompt_batch(), options).tolist())
    assert runs[0] == runs[1] != runs[2]


def test_equal_seeds_give_equal_steps() -> None:
    def step() -> tuple[float, torch.Tensor]:
        model = build()
        select_stage(model, "resampler")
        loss = model(training_batch()).loss
        loss.backward()
        return float(loss.detach()), model.projector.linear.weight.grad  # type: ignore[return-value]

    (loss, grad), (same_loss, same_grad) = step(), step()
    assert loss == same_loss
    assert torch.equal(grad, same_grad)


@pytest.mark.parametrize("kind", ["perceiver", "masked_drop", "avg"])
def test_token_reducing_resamplers_caption_but_compare_no_overlaps(kind: str) -> None:
    options = {"num_latents": 3, "depth": 1} if kind == "perceiver" else {}
    resampler = ResamplerSpec(kind, **options)  # type: ignore[arg-type]
    model = build(replace(SPEC, vision=replace(SPEC.vision, resampler=resampler)))
    assert float(model(training_batch()).loss.detach()) > 0
    with pytest.raises(ValueError, match="token-preserving where overlaps are compared; got '" + kind):
        _ = model.vision.grid


@pytest.mark.parametrize(
    "projector", [ProjectorSpec("concat"), ProjectorSpec("resample"), ProjectorSpec(position="none")]
)
def test_other_projectors(projector: ProjectorSpec) -> None:
    model = build(replace(SPEC, projector=projector))
    model(training_batch()).loss.backward()
    assert model.projector.linear.weight.grad is not None


def test_mixed_precision_keeps_the_loss_in_float32() -> None:
    model, batch = build(), training_batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(batch)
    assert out.loss.dtype == out.logits.dtype == torch.float32
    torch.testing.assert_close(out.loss, model(batch).loss, atol=0.05, rtol=0)


def test_language_weights_in_bfloat16() -> None:
    model = build(replace(SPEC, language=replace(SPEC.language, dtype="bfloat16")))
    select_stage(model, "finetune")
    out = model(training_batch())
    out.loss.backward()
    assert out.loss.dtype == torch.float32
    assert model.projector.linear.weight.grad is not None
    assert {parameter.dtype for parameter in model.language.adapter_parameters()} == {torch.float32}


def change(batch: PanoBatch, **changes: torch.Tensor | None) -> PanoBatch:
    return replace(batch, text=replace(texts(batch), **changes))


def test_misuse() -> None:
    model, batch = build(), training_batch()
    text = texts(batch)
    with pytest.raises(ValueError, match="the 4 views of the layout; got 5"):
        model(replace(batch, layout=ErpLayout.build(hfov_deg=90.0, overlap=0.0, global_view=False)))
    with pytest.raises(ValueError, match="H=16, W=16"):
        model(replace(batch, views=torch.rand(2, LAYOUT.num_views, 3, 24, 24)))
    with pytest.raises(ValueError, match="None for a model without language; got texts"):
        build(with_language=False)(batch)
    without = text.input_ids.masked_fill(text.input_ids == model.language.vision_id, 5)
    with pytest.raises(ValueError, match=r"texts with one vision placeholder; got \{'a': 0, 'b': 0\}"):
        model(change(batch, input_ids=without))
    twice = text.input_ids.clone()
    twice[1, 1] = model.language.vision_id
    with pytest.raises(ValueError, match=r"one vision placeholder; got \{'b': 2\}"):
        model(change(batch, input_ids=twice))
    with pytest.raises(ValueError, match="given for the caption loss; got None"):
        model(change(batch, labels=None))
    labels = text.labels.clone()  # type: ignore[union-attr]
    labels[1] = -100
    with pytest.raises(ValueError, match=r"labels of at least one token of each text; got none in \['b'\]"):
        model(change(batch, labels=labels))
    with pytest.raises(ValueError, match="in evaluation mode"):
        model.train().generate(prompt_batch())
    with pytest.raises(ValueError, match="the prompts; got None"):
        model.eval().generate(replace(batch, text=None))
