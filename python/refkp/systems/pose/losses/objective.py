"""What the network is trained for: the `loss:` section of a configuration, and its weighted sum.

Source: spec pose 4.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from refkp._checks import fail
from refkp.systems.pose.losses.classification import ClassificationLoss, classification_loss
from refkp.systems.pose.losses.correspondences import PairPoints, match_log_probability
from refkp.systems.pose.losses.flow import flow_loss
from refkp.systems.pose.losses.pose import PoseLoss, PoseLossSpec
from refkp.systems.pose.model.pairs import PatchPairs
from refkp.systems.pose.model.vpog import PairPrediction
from refkp.systems.pose.targets import PoseTargets
from refkp.systems.pose.views import PoseBatch


@dataclass(frozen=True)
class LossSpec:
    """Weights and constants of the terms.

    Args:
        classification: weight of the patch labels.
        flow: weight of the Laplace likelihood of the flow on visible pixels.
        invisible: weight of 1 / b on invisible ones, which asks for doubt there.
        temperature: by which logits are divided.
        label_smoothing: in [0,1).
        unseen_weight: of query patches that a template does not see, in the classification.
        pose: the pose loss with its weight.
    """

    classification: float = 1.0
    flow: float = 1.0
    invisible: float = 0.1
    temperature: float = 1.0
    label_smoothing: float = 0.0
    unseen_weight: float = 1.0
    pose: PoseLossSpec = field(default_factory=PoseLossSpec)

    def __post_init__(self) -> None:
        for name in ("classification", "flow", "invisible", "unseen_weight"):
            if getattr(self, name) < 0:
                fail("LossSpec", name, "0 or more", getattr(self, name))


class ObjectiveTerms(NamedTuple):
    """The weighted sum, its unweighted terms, and what is worth watching beside them."""

    total: Tensor  # scalar, with gradient
    terms: dict[str, Tensor]  # name -> scalar without its weight
    watched: dict[str, Tensor]  # name -> scalar: accuracies and counts


class Objective(nn.Module):
    """The weighted sum of all losses, in float32, with the pose loss's own parameter.

    Args:
        spec: weights and constants.
    """

    def __init__(self, spec: LossSpec) -> None:
        super().__init__()
        self.spec = spec
        self.pose = PoseLoss(spec.pose) if spec.pose.weight else None

    def forward(
        self,
        logits: Tensor,
        prediction: PairPrediction,
        pairs: PatchPairs,
        targets: PoseTargets,
        batch: PoseBatch,
    ) -> ObjectiveTerms:
        """All terms of a batch.

        Args:
            logits: [B,S,N,N+1].
            prediction: flow and scale of `pairs`.
            pairs: the true buddies, `pairs_from_labels(targets.labels, N)`.
            targets: labels, flow and visibility.
            batch: the views.
        """
        raise NotImplementedError
