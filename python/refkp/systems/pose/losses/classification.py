"""Which template patch each query patch sees, as a classification."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from refkp._checks import fail, require_dtype, require_shape, require_tensor
from refkp.nn.ranks import Mean

IGNORE = -1


class ClassificationLoss(NamedTuple):
    """The loss and how often the largest logit is right, as means over labels."""

    loss: Mean  # over all labels that count; with gradient to the logits, also where there are none
    acc_overall: Mean  # the same labels
    acc_seen: Mean  # over labels of patches
    acc_unseen: Mean  # over labels of the unseen class


def classification_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    temperature: float = 1.0,
    unseen_weight: float = 1.0,
    label_smoothing: float = 0.0,
) -> ClassificationLoss:
    """Cross entropy of softmax(logits/temperature) over the patches of a template and the unseen class.

    The target of a label is (1 - e) one-hot + e/(number of classes). Losses of unseen patches are multiplied
    by `unseen_weight`. The sum is divided by the number of labels that count, not by the sum of weights.

    Args:
        logits: [...,C], float; C = N + 1 for N template patches. Half precision is computed in float32.
        labels: [...], int64 in 0..C-1, the last of which means unseen, or -1: ignored.
        temperature: above 0; 1 for the logits of the model, which are divided by one already.
        unseen_weight: weight of the unseen class.
        label_smoothing: e, in [0,1).

    Returns:
        The loss with gradient to `logits`, and accuracies without one.

    Raises:
        ValueError: shapes do not fit, or a constant is out of its range.

    Source: spec pose 4.1.

    >>> terms = classification_loss(torch.tensor([[9.0, 0.0], [9.0, 0.0]]), torch.tensor([0, 1]))
    >>> terms.acc_seen.value, terms.acc_unseen.value, terms.acc_overall.value
    (tensor(1.), tensor(0.), tensor(0.5000))
    """
    _check(logits, labels, temperature, label_smoothing)
    classes = logits.shape[-1]
    scores = logits.reshape(-1, classes).to(torch.promote_types(logits.dtype, torch.float32))
    target = labels.reshape(-1)
    valid, unseen = target != IGNORE, target == classes - 1
    losses = functional.cross_entropy(
        scores / temperature, target, ignore_index=IGNORE, reduction="none", label_smoothing=label_smoothing
    )
    right = scores.detach().argmax(-1) == target
    return ClassificationLoss(
        Mean(torch.where(unseen, unseen_weight * losses, losses).sum(), valid.sum()),
        Mean.over(right, valid),
        Mean.over(right, valid & ~unseen),
        Mean.over(right, unseen),
    )


def _check(logits: Tensor, labels: Tensor, temperature: float, label_smoothing: float) -> None:
    require_tensor("classification_loss", "logits", logits)
    if logits.dim() == 0 or logits.shape[-1] == 0:
        fail("classification_loss", "logits", "[...,C] with at least one class", tuple(logits.shape))
    require_shape("classification_loss", "labels", labels, ",".join(map(str, logits.shape[:-1])))
    require_dtype("classification_loss", "labels", labels, (torch.int64,))
    if temperature <= 0:
        fail("classification_loss", "temperature", "above 0", temperature)
    if not 0 <= label_smoothing < 1:
        fail("classification_loss", "label_smoothing", "in [0,1)", label_smoothing)
