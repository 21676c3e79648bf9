"""Caption metrics as the COCO tools compute them: BLEU, ROUGE-L, CIDEr. Source: spec panorama 5.

The metrics read tokenised sentences, words separated by spaces; `tokenize` makes such sentences of raw text.
METEOR and SPICE need programs in Java and are not computed here.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from refkp._checks import fail

#: The longest n-gram of BLEU and CIDEr.
MAX_ORDER = 4

#: Keep the quotients of BLEU away from 0 / 0; the constants of the COCO tools.
_TINY, _SMALL = 1e-15, 1e-9
#: Weight of the recall in ROUGE-L.
_BETA = 1.2
#: Standard deviation of CIDEr's length penalty, in n-grams.
_LENGTH_SIGMA = 6.0

NGrams = Counter[tuple[str, ...]]


class CaptionScores(NamedTuple):
    """The scores of N predictions."""

    bleu: tuple[float, ...]  # BLEU-1 to BLEU-4 of the corpus, in [0,1]
    rouge_l: float  # mean of the samples, in [0,1]
    rouge_l_each: tuple[float, ...]  # [N]
    cider: float  # mean of the samples, in [0,10]
    cider_each: tuple[float, ...]  # [N]


def caption_scores(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> CaptionScores:
    """All scores of tokenised predictions against their tokenised references.

    Args:
        predictions: N sentences; an empty one scores zero.
        references: for each prediction one or more sentences.

    Raises:
        ValueError: there is no sample, or a sample without a reference.

    >>> scores = caption_scores(["a red door", "the sea"], [["a red door"], ["the wide sea", "waves"]])
    >>> [round(value, 3) for value in scores.bleu[:2]], round(scores.rouge_l, 3)
    ([1.0, 0.816], 0.886)
    """
    _check(predictions, references)
    rouge, consensus = rouge_l(predictions, references), cider(predictions, references)
    return CaptionScores(bleu(predictions, references), _mean(rouge), rouge, _mean(consensus), consensus)


def bleu(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[float, ...]:
    """BLEU-1 to BLEU-4 of the whole corpus.

    BLEU-n = (prod over m <= n of matches_m / count_m)^(1/n), times exp(1 - r/h) when the predictions (h words)
    are shorter than their closest references (r words; of two equally close ones the shorter).
    """
    _check(predictions, references)
    matches, counts = [0] * MAX_ORDER, [0] * MAX_ORDER
    length = closest = 0
    for prediction, sentences in zip(predictions, references, strict=True):
        words, others = prediction.split(), [sentence.split() for sentence in sentences]
        length += len(words)
        closest += min((abs(len(other) - len(words)), len(other)) for other in others)[1]
        for order in range(MAX_ORDER):
            grams = _ngrams(words, order + 1)
            allowed: NGrams = Counter()
            for other in others:
                allowed |= _ngrams(other, order + 1)
            matches[order] += (grams & allowed).total()
            counts[order] += grams.total()
    ratio = (length + _TINY) / (closest + _SMALL)
    penalty = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    scores, product = [], 1.0
    for order in range(MAX_ORDER):
        product *= (matches[order] + _TINY) / (counts[order] + _SMALL)
        scores.append(penalty * product ** (1 / (order + 1)))
    return tuple(scores)


def rouge_l(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[float, ...]:
    """ROUGE-L of each sample, from the longest common subsequence (LCS) of words.

    F = (1 + b^2) P R / (R + b^2 P) with P = max over references of LCS / words of the prediction, R = max of
    LCS / words of the reference, b = 1.2.
    """
    _check(predictions, references)
    return tuple(
        _rouge_l(prediction.split(), [sentence.split() for sentence in sentences])
        for prediction, sentences in zip(predictions, references, strict=True)
    )


def _rouge_l(words: list[str], others: list[list[str]]) -> float:
    common = [_common_length(words, other) for other in others]
    if not any(common):
        return 0.0
    precision = max(common) / len(words)
    recall = max(shared / len(other) for shared, other in zip(common, others, strict=True) if other)
    return (1 + _BETA**2) * precision * recall / (recall + _BETA**2 * precision)


def _common_length(a: list[str], b: list[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for word in a:
        diagonal = 0
        for index, other in enumerate(b):
            above = row[index + 1]
            row[index + 1] = diagonal + 1 if word == other else max(above, row[index])
            diagonal = above
    return row[-1]


def cider(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[float, ...]:
    """CIDEr of each sample, in the CIDEr-D form that the COCO tools call CIDEr.

    10 x mean over references and n = 1..4 of sum_g min(h_g, r_g) r_g / (|h| |r|) exp(-d^2 / 72): h, r are
    n-gram counts times log(N / max(1, samples whose references hold g)), d the difference of bigram counts.
    A corpus of one sample scores zero, since every such logarithm is.
    """
    _check(predictions, references)
    documents = [[_all_ngrams(sentence.split()) for sentence in sentences] for sentences in references]
    frequency: NGrams = Counter()
    for document in documents:
        frequency.update(set().union(*document))
    samples = zip(predictions, documents, strict=True)
    return tuple(
        _cider(_all_ngrams(prediction.split()), document, frequency, len(predictions))
        for prediction, document in samples
    )


Weights = dict[tuple[str, ...], float]


def _cider(grams: NGrams, document: list[NGrams], frequency: NGrams, num_samples: int) -> float:
    own = _weights(grams, frequency, num_samples)
    total = 0.0
    for other_grams in document:
        other = _weights(other_grams, frequency, num_samples)
        difference = _bigrams(grams) - _bigrams(other_grams)
        penalty = math.exp(-(difference**2) / (2 * _LENGTH_SIGMA**2))
        total += penalty * sum(_similarity(h, r) for h, r in zip(own, other, strict=True)) / MAX_ORDER
    return 10 * total / len(document)


def _weights(grams: NGrams, frequency: NGrams, num_samples: int) -> list[Weights]:
    """Count times inverse document frequency of the n-grams, for each n."""
    weights: list[Weights] = [{} for _ in range(MAX_ORDER)]
    for gram, count in grams.items():
        weights[len(gram) - 1][gram] = count * (math.log(num_samples) - math.log(max(1, frequency[gram])))
    return weights


def _similarity(own: Weights, other: Weights) -> float:
    norms = math.sqrt(math.fsum(v * v for v in own.values()) * math.fsum(v * v for v in other.values()))
    if norms == 0:
        return 0.0
    return (
        sum(min(weight, other[gram]) * other[gram] for gram, weight in own.items() if gram in other) / norms
    )


def _bigrams(grams: NGrams) -> int:
    return sum(count for gram, count in grams.items() if len(gram) == 2)


def _all_ngrams(words: list[str]) -> NGrams:
    grams: NGrams = Counter()
    for order in range(1, MAX_ORDER + 1):
        grams.update(_ngrams(words, order))
    return grams


def _ngrams(words: list[str], order: int) -> NGrams:
    return Counter(tuple(words[start : start + order]) for start in range(len(words) - order + 1))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _check(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    if not predictions or len(predictions) != len(references):
        fail(
            "caption_scores",
            "references",
            "one list of sentences for each of at least one prediction",
            f"{len(references)} for {len(predictions)}",
        )
    for index, sentences in enumerate(references):
        if not sentences:
            fail("caption_scores", "references", "at least one sentence for every sample", f"none at {index}")


#: In this order: the stem and the rest of "don't", endings such as 's, numbers with points or commas, words
#: with inner hyphens, and the signs that are read aloud.
_WORD = re.compile(
    r"\w+?(?=n't\b)|n't\b|'(?:s|m|d|re|ve|ll)\b|\d+(?:[.,]\d+)+|\w+(?:-\w+)*|[$%&#@]", flags=re.UNICODE
)


def tokenize(text: str) -> str:
    """Raw text as a tokenised sentence: lower case, words as in the Penn Treebank, no punctuation.

    A short stand-in for the Java tokeniser of the COCO tools: "don't" becomes "do n't", "door's" "door 's";
    hyphenated words and numbers stay whole. Scores of raw text may differ from theirs in rare words.

    >>> tokenize("A well-lit door; it isn't 2.5 m (8 feet) high!")
    "a well-lit door it is n't 2.5 m 8 feet high"
    """
    return " ".join(_WORD.findall(text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")))
