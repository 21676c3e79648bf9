"""How answers are generated: the `generation:` section of a configuration. Without torch, as `views.spec`.

Source: spec panorama 5.
"""

from __future__ import annotations

from dataclasses import dataclass

from refkp._checks import fail


@dataclass(frozen=True)
class GenerationSpec:
    """How an answer is generated; greedy by default.

    Args:
        max_new_tokens: the longest answer, its end token included.
        min_new_tokens: the end token is not allowed before these many.
        num_beams: beams of beam search; 1 is none.
        repetition_penalty: divides the scores of tokens that were generated before; 1 is none.
        do_sample: draw tokens instead of taking the likeliest, from torch's global generator.
        temperature, top_p, top_k: of the draw; top_k 0 draws from all tokens.
    """

    max_new_tokens: int = 128
    min_new_tokens: int = 0
    num_beams: int = 1
    repetition_penalty: float = 1.0
    do_sample: bool = False
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            fail("GenerationSpec", "max_new_tokens", "at least 1", self.max_new_tokens)
        if not 0 <= self.min_new_tokens <= self.max_new_tokens:
            rule = f"from 0 to max_new_tokens ({self.max_new_tokens})"
            fail("GenerationSpec", "min_new_tokens", rule, self.min_new_tokens)
        if self.num_beams < 1:
            fail("GenerationSpec", "num_beams", "at least 1", self.num_beams)
        for name in ("temperature", "repetition_penalty"):
            if getattr(self, name) <= 0:
                fail("GenerationSpec", name, "above 0", getattr(self, name))
        if self.top_k < 0:
            fail("GenerationSpec", "top_k", "at least 0", self.top_k)
        if not 0 < self.top_p <= 1:
            fail("GenerationSpec", "top_p", "in (0,1]", self.top_p)
        if not self.do_sample and (self.temperature, self.top_p, self.top_k) != (1.0, 1.0, 0):
            got = f"temperature {self.temperature}, top_p {self.top_p}, top_k {self.top_k} without it"
            fail("GenerationSpec", "do_sample", "set where its options are", got)
