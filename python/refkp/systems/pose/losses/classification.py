"""Which template patch each query patch sees, as a classification."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from refkp._checks import fail, require_dtype, require_shape, require_tensor

IGNORE = -1


class ClassificationLoss(NamedTuple):
    """The loss and how often the largest logit is right; an accuracy over no patches is 0."""

    loss: Tensor  # scalar; 0, attached to the logits, if no label counts
    acc_overall: Tensor  # scalar, over all labels that count
    acc_seen: Tensor  # scalar, over labels of patches
    acc_unseen: Tensor  # scalar, over labels of the unseen class
    num_seen: Tensor  # int64 scalar
    num_unseen: Tensor  # int64 scalar


def classification_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    tau: float = 1.0,
    weight_unseen: float = 1.0,
    label_smoothing: float = 0.0,
    unseen: Tensor | None = None,
) -> ClassificationLoss:
    """Cross entropy of softmax(logits/tau) over the patches of a template and the unseen class.

    The target of a label is (1 - e) one-hot + e/(number of classes). Losses of unseen patches are multiplied
    by `weight_unseen`. The sum is divided by the number of labels that count, not by the sum of weights.

    Args:
        logits: [...,C], float; C = N + 1 for N template patches. Half precision is computed in float32.
        labels: [...], int64 in 0..C-1, or -1: ignored.
        tau: temperature, above 0.
        weight_unseen: weight of the unseen class.
        label_smoothing: e, in [0,1).
        unseen: [...], bool, which labels mean unseen; None: those of the last class.

    Returns:
        The loss with gradient to `logits`, and accuracies without one.

    Raises:
        ValueError: shapes do not fit, or a constant is out of its range.

    Source: spec pose 4.1.

    >>> terms = classification_loss(torch.tensor([[9.0, 0.0], [9.0, 0.0]]), torch.tensor([0, 1]))
    >>> terms.acc_seen, terms.acc_unseen, terms.acc_overall
    (tensor(1.), tensor(0.), tensor(0.5000))
    """
    _check(logits, labels, tau, label_smoothing, unseen)
    classes = logits.shape[-1]
    scores = logits.reshape(-1, classes).to(torch.promote_types(logits.dtype, torch.float32))
    target = labels.reshape(-1)
    valid = target != IGNORE
    unseen = target == classes - 1 if unseen is None else valid & unseen.reshape(-1)
    losses = functional.cross_entropy(
        scores / tau, target, ignore_index=IGNORE, reduction="none", label_smoothing=label_smoothing
    )
    total = torch.where(unseen, weight_unseen * losses, losses).sum()
    right = scores.detach().argmax(-1) == target
    return ClassificationLoss(
        total / valid.sum().clamp(min=1),
        _share(right, valid),
        _share(right, valid & ~unseen),
        _share(right, unseen),
        (valid & ~unseen).sum(),
        unseen.sum(),
    )


def _check(logits: Tensor, labels: Tensor, tau: float, label_smoothing: float, unseen: Tensor | None) -> None:
    require_tensor("classification_loss", "logits", logits)
    if logits.dim() == 0 or logits.shape[-1] == 0:
        fail("classification_loss", "logits", "[...,C] with at least one class", tuple(logits.shape))
    require_shape("classification_loss", "labels", labels, ",".join(map(str, logits.shape[:-1])))
    require_dtype("classification_loss", "labels", labels, (torch.int64,))
    if unseen is not None:
        require_shape("classification_loss", "unseen", unseen, ",".join(map(str, labels.shape)))
        require_dtype("classification_loss", "unseen", unseen, (torch.bool,))
    if tau <= 0:
        fail("classification_loss", "tau", "above 0", tau)
    if not 0 <= label_smoothing < 1:
        fail("classification_loss", "label_smoothing", "in [0,1)", label_smoothing)


def _share(right: Tensor, among: Tensor) -> Tensor:
    return (right & among).sum() / among.sum().clamp(min=1)
