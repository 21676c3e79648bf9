"""Caption metrics: laws, edge cases, and the tokeniser."""

from __future__ import annotations

import math

import pytest

from refkp.systems.panorama.metrics.captions import bleu, caption_scores, cider, rouge_l, tokenize

SAMPLES = ["a red door in a wall", "two boats on the sea", "an empty hall"]


def test_the_best_prediction_is_the_reference() -> None:
    scores = caption_scores(SAMPLES, [[text] for text in SAMPLES])
    assert scores.bleu[:3] == pytest.approx((1, 1, 1), abs=1e-8)
    assert scores.rouge_l_each == (1, 1, 1)
    assert scores.cider_each[:2] == pytest.approx((10, 10))
    assert scores.cider_each[2] == pytest.approx(7.5)  # three words have no 4-gram
    assert scores.cider == pytest.approx(27.5 / 3)


def test_bleu_clips_and_punishes_short_predictions() -> None:
    assert bleu(["the the the the"], [["the cat sat on the mat", "a the b c"]])[0] == pytest.approx(
        0.5, abs=1e-8
    )
    assert bleu(["the cat"], [["the cat sat down"]])[0] == pytest.approx(math.exp(-1), abs=1e-8)
    # of two references as close, the shorter decides: no penalty
    assert bleu(["a b c"], [["a b c d", "a b"]])[0] == pytest.approx(1, abs=1e-8)


def test_rouge_of_a_subsequence() -> None:
    precision, recall, weight = 2 / 3, 2 / 4, 1.44
    wanted = (1 + weight) * precision * recall / (recall + weight * precision)
    assert rouge_l(["a x c"], [["a b c d"]]) == pytest.approx((wanted,))
    assert rouge_l(["a x c"], [["y", "a b c d"]]) == pytest.approx((wanted,))


def test_an_empty_prediction_scores_zero() -> None:
    scores = caption_scores(["", *SAMPLES[1:]], [[text] for text in SAMPLES])
    assert (scores.rouge_l_each[0], scores.cider_each[0]) == (0, 0)
    nothing = caption_scores(["", ""], [["a door"], ["a wall"]])
    assert max(nothing.bleu) < 1e-6
    assert (nothing.rouge_l, nothing.cider) == (0, 0)


def test_cider_of_one_sample_is_zero() -> None:
    assert cider(["a red door"], [["a red door"]]) == (0,)


def test_cider_ignores_words_that_every_sample_has_and_punishes_length() -> None:
    assert cider(["a", "a"], [["a b"], ["a c"]]) == (0, 0)
    exact, longer = (cider([text, "y"], [["red"], ["y"]])[0] for text in ("red", "red red red red red"))
    assert longer < exact / 2


def test_the_mean_over_references() -> None:
    one, two = (
        cider(["red door", "sea"], [refs, ["sea"]])[0] for refs in (["red door"], ["red door", "hall"])
    )
    assert two == pytest.approx(one / 2)


def test_errors() -> None:
    for predictions, references in (([], []), (["a"], [])):
        with pytest.raises(ValueError, match="one list of sentences for each"):
            caption_scores(predictions, references)
    with pytest.raises(ValueError, match="at least one sentence for every sample; got none at 1"):
        bleu(["a", "b"], [["a"], []])


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("The door's red.", "the door 's red"),
        ("Don\N{RIGHT SINGLE QUOTATION MARK}t; we can't!", "do n't we ca n't"),
        ("(a) 1,000.5 m -- 50 %", "a 1,000.5 m 50 %"),
        ("\tpost-modern\nÉglise ", "post-modern église"),
        ("...", ""),
    ],
)
def test_tokenize(text: str, tokens: str) -> None:
    assert tokenize(text) == tokens
    assert tokenize(tokens) == tokens


def test_cider_falls_with_the_difference_of_bigram_counts() -> None:
    """By hand: all n-grams of the reference are there, so that nothing but length and norms differ."""
    references = [["a red door"], ["the wide sea"], ["green hills far away"]]
    others = ["the wide sea", "green hills far away"]
    longer = cider(["a red door now now now", *others], references)[0]
    idf, reference = math.log(3), [3, 2, 1, 0]  # n-grams of one count each
    own = [
        3 + 9,
        3 + 4,
        4,
        3,
    ]  # squared norms: words, with "now" three times; pairs, with "now now" twice; ...
    cosines = sum(
        count / math.sqrt(count * norm) for count, norm in zip(reference, own, strict=True) if count
    )
    assert idf > 0
    assert longer == pytest.approx(10 * cosines / 4 * math.exp(-(3**2) / 72))
