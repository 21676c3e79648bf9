"""What the network is trained for: the `loss:` section of a configuration, and its weighted sum.

Source: spec pose 4.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from refkp._checks import fail
from refkp.systems.pose.losses.classification import classification_loss
from refkp.systems.pose.losses.correspondences import PairPoints, match_log_probability
from refkp.systems.pose.losses.flow import FlowMetrics, laplace_flow_loss
from refkp.systems.pose.losses.pose import PoseLoss, PoseLossSpec, PoseLossTerms
from refkp.systems.pose.model.flow import PairPrediction
from refkp.systems.pose.model.pairs import PatchPairs
from refkp.systems.pose.targets import PoseTargets
from refkp.systems.pose.views import PoseBatch


@dataclass(frozen=True)
class LossSpec:
    """Weights and constants of the terms.

    Args:
        classification: weight of the patch labels.
        flow: weight of the Laplace likelihood of the flow.
        invisible: within it, weight of 1 / b on invisible pixels, which asks for doubt there.
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
    accuracy: dict[str, Tensor]  # "acc_overall", "acc_seen", "acc_unseen"
    counts: dict[str, Tensor]  # "M_pairs", and objects that the pose loss left out or failed on
    flow: FlowMetrics  # of the true pairs, in patches


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
        spec, at = self.spec, (pairs.b, pairs.s, pairs.query)
        classes = classification_loss(
            logits,
            targets.labels,
            tau=spec.temperature,
            weight_unseen=spec.unseen_weight,
            label_smoothing=spec.label_smoothing,
        )
        flow = laplace_flow_loss(
            prediction.flow,
            prediction.scale,
            targets.flow[at],
            targets.visible[at],
            lambda_invisible=spec.invisible,
        )
        # The second term brings its factor along.
        weighted = {
            "cls": (spec.classification, classes.loss),
            "dense": (spec.flow, flow.loss),
            "invis_reg": (spec.flow, flow.invisible),
        }
        counts = {"M_pairs": torch.tensor(len(pairs.b), device=logits.device)}
        if self.pose is not None:
            points = PairPoints(pairs, prediction, match_log_probability(logits, pairs))
            pose = self.pose(points, batch, targets.patch_size)
            weighted |= self._pose_terms(pose)
            counts |= {"pose_skipped": pose.num_skipped, "pose_failed": pose.num_failed}
        accuracy = {name: getattr(classes, name) for name in ("acc_overall", "acc_seen", "acc_unseen")}
        total = torch.stack([weight * term for weight, term in weighted.values()]).sum()
        terms = {name: term for name, (_, term) in weighted.items()}
        return ObjectiveTerms(total, terms, accuracy, counts, flow.metrics)

    def _pose_terms(self, pose: PoseLossTerms) -> dict[str, tuple[float, Tensor]]:
        spec = self.spec.pose
        return {
            "pose": (spec.weight * spec.monte_carlo, pose.monte_carlo),
            "pose_translation": (spec.weight * spec.translation, pose.translation),
            "pose_rotation": (spec.weight * spec.rotation, pose.rotation),
        }
