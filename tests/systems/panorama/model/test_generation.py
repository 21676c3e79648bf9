"""The options of generation."""

from __future__ import annotations

import pytest

pytest.importorskip("transformers", reason="needs the extra `panorama`")

from refkp.systems.panorama.model.generation import GenerationSpec
from refkp.systems.panorama.model.language import generation_config


def test_greedy_by_default() -> None:
    config = generation_config(GenerationSpec(), 1, [3])
    assert (config.max_new_tokens, config.do_sample, config.num_beams) == (128, False, 1)
    assert (config.pad_token_id, config.eos_token_id, config.use_cache) == (1, [3], True)
    assert config.temperature is None


def test_sampling_options_arrive() -> None:
    spec = GenerationSpec(do_sample=True, temperature=0.7, top_p=0.9, top_k=50)
    config = generation_config(spec, 1, [3])
    assert (config.do_sample, config.temperature, config.top_p, config.top_k) == (True, 0.7, 0.9, 50)


def test_errors() -> None:
    with pytest.raises(
        ValueError, match=r"`do_sample` must be set where its options are; got temperature 0\.5"
    ):
        GenerationSpec(temperature=0.5)
    with pytest.raises(ValueError, match="`max_new_tokens`"):
        GenerationSpec(max_new_tokens=0)
    with pytest.raises(ValueError, match=r"`min_new_tokens` must be from 0 to max_new_tokens \(2\); got 3"):
        GenerationSpec(max_new_tokens=2, min_new_tokens=3)
    with pytest.raises(ValueError, match="`num_beams` must be at least 1"):
        GenerationSpec(num_beams=0)
    with pytest.raises(ValueError, match="`repetition_penalty` must be above 0"):
        GenerationSpec(repetition_penalty=0.0)
    with pytest.raises(ValueError, match="`top_k` must be at least 0"):
        GenerationSpec(do_sample=True, top_k=-1)
    with pytest.raises(ValueError, match="`temperature` must be above 0"):
        GenerationSpec(do_sample=True, temperature=0.0)
    with pytest.raises(ValueError, match=r"`top_p` must be in \(0,1\]"):
        GenerationSpec(do_sample=True, top_p=0.0)
