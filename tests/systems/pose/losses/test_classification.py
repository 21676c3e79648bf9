"""Patch labels as a classification."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from refkp.systems.pose.losses.classification import classification_loss

LABELS = torch.tensor([[0, 3, -1, 4], [4, -1, 2, 1]])  # four patches and the unseen class


def logits(seed: int = 0) -> torch.Tensor:
    return torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_formula_label_by_label() -> None:
    scores, total = logits(), 0.0
    for score, label in zip(scores.reshape(-1, 5), LABELS.reshape(-1).tolist(), strict=True):
        if label >= 0:
            target = torch.full((5,), 0.1 / 5, dtype=torch.float64)
            target[label] += 0.9
            loss = -(target * functional.log_softmax(score / 0.5, dim=-1)).sum()
            total += float(loss) * (0.3 if label == 4 else 1.0)
    got = classification_loss(scores, LABELS, temperature=0.5, unseen_weight=0.3, label_smoothing=0.1)
    assert got.loss.value.item() == pytest.approx(total / 6)
    assert (got.loss.count, got.acc_seen.count, got.acc_unseen.count) == (6, 4, 2)


def test_accuracies_count_what_they_name() -> None:
    right = functional.one_hot(LABELS.clamp(min=0), 5).double()
    right[0, 0] = right[0, 0].roll(1)  # one seen patch wrong
    right[1, 0] = right[1, 0].roll(1)  # one unseen patch wrong
    got = classification_loss(right, LABELS)
    assert got.acc_overall.value.item() == pytest.approx(4 / 6)
    assert got.acc_seen.value.item() == pytest.approx(3 / 4)
    assert got.acc_unseen.value.item() == pytest.approx(1 / 2)


@pytest.mark.parametrize("labels", [torch.full((2, 4), -1), torch.zeros(2, 0, dtype=torch.int64)])
def test_nothing_to_classify_is_zero_and_attached(labels: torch.Tensor) -> None:
    scores = logits()[:, : labels.shape[1]].clone().requires_grad_()
    got = classification_loss(scores, labels)
    assert [mean.value.item() for mean in got] == [0.0] * 4
    got.loss.value.backward()
    assert (scores.grad == 0).all()


def test_all_unseen_leaves_the_seen_accuracy_at_zero() -> None:
    got = classification_loss(logits(), torch.full((2, 4), 4))
    assert (got.acc_seen.count, got.acc_seen.value) == (0, 0)
    assert got.acc_overall.value == got.acc_unseen.value


def test_half_precision_is_computed_in_single() -> None:
    scores = logits().bfloat16()
    got = classification_loss(scores, LABELS)
    assert got.loss.value.dtype == torch.float32
    torch.testing.assert_close(got.loss.value, classification_loss(scores.float(), LABELS).loss.value)


def test_errors_name_the_argument() -> None:
    with pytest.raises(ValueError, match=r"`labels` must be \[2,4\]; got \[2,3\]"):
        classification_loss(logits(), LABELS[:, :3])
    with pytest.raises(ValueError, match="`labels` must be of dtype int64"):
        classification_loss(logits(), LABELS.int())
    with pytest.raises(ValueError, match="`temperature` must be above 0"):
        classification_loss(logits(), LABELS, temperature=0.0)
    with pytest.raises(ValueError, match="`label_smoothing` must be in"):
        classification_loss(logits(), LABELS, label_smoothing=1.0)
