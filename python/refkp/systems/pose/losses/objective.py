"""What the network is trained for: the `loss:` section of a configuration, and its weighted sum.

Source: spec pose 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from refkp._checks import fail, require_choice
from refkp.nn.ranks import Mean, all_rank_means
from refkp.systems.pose.losses.classification import classification_loss
from refkp.systems.pose.losses.correspondences import PairPoints, match_log_probability
from refkp.systems.pose.losses.flow import flow_metrics, laplace_flow_loss, robust_flow_loss
from refkp.systems.pose.losses.pose import PoseLoss, PoseLossSpec
from refkp.systems.pose.losses.regularisation import weight_penalty
from refkp.systems.pose.model.flow import PairPrediction
from refkp.systems.pose.model.pairs import PatchPairs
from refkp.systems.pose.targets import PoseTargets
from refkp.systems.pose.views import PoseBatch


@dataclass(frozen=True)
class LossSpec:
    """Weights and constants of the terms.

    Args:
        classification: weight of the patch labels.
        flow: weight of the flow, its scale included.
        flow_kind: "laplace": the likelihood of flow and scale together; "l1" or "huber": the flow learns from its
            error alone (`robust_flow_loss`), and the scale from its likelihood given that flow.
        huber_delta: of "huber": the end-point error at which it turns linear, in patches.
        invisible: within `flow`, weight of 1 / b on invisible pixels, which asks for doubt there.
        label_smoothing: in [0,1).
        unseen_weight: of query patches that a template does not see, in the classification.
        weight_penalty: weight of 1e-4 times the sum of squares of all matrices (`weight_penalty`); the original
            has 0.01. 0, since the decay of AdamW, `optimizer.weight_decay`, shrinks the same matrices already.
        pose: the pose loss with its weight.
    """

    classification: float = 1.0
    flow: float = 1.0
    flow_kind: Literal["laplace", "l1", "huber"] = "laplace"
    huber_delta: float = 1.0
    invisible: float = 0.1
    label_smoothing: float = 0.0
    unseen_weight: float = 1.0
    weight_penalty: float = 0.0
    pose: PoseLossSpec = field(default_factory=PoseLossSpec)

    def __post_init__(self) -> None:
        for name in ("classification", "flow", "invisible", "unseen_weight", "weight_penalty"):
            if getattr(self, name) < 0:
                fail("LossSpec", name, "0 or more", getattr(self, name))
        require_choice("LossSpec", "flow_kind", self.flow_kind, ("laplace", "l1", "huber"))
        if not self.huber_delta > 0:
            fail("LossSpec", "huber_delta", "above 0", self.huber_delta)


class ObjectiveTerms(NamedTuple):
    """The weighted sum, its terms, and what is worth watching beside them; means, and their values.

    In training the values are those of the items of all ranks, the same on each (`all_rank_means`); in
    evaluation those of the batch of this rank, without waiting for the others. Held-out values are made of the
    added `means` of all batches.
    """

    total: Tensor  # scalar, with gradient: sum of weights * values
    values: dict[str, Tensor]  # name -> scalar without its weight
    means: dict[str, Mean]  # name -> sum and count of this rank's batch
    weights: dict[str, float]  # of the terms; the other means are watched alone

    @property
    def terms(self) -> dict[str, Tensor]:
        """The values that the total is made of."""
        return {name: self.values[name] for name in self.weights}


def weighted_total(weights: Mapping[str, float], values: Mapping[str, Tensor]) -> Tensor:
    """Sum of weight * value over the names of `weights`, a scalar."""
    return torch.stack([weight * values[name] for name, weight in weights.items()]).sum()


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
        networks: nn.Module,
    ) -> ObjectiveTerms:
        """All terms of a batch.

        Args:
            logits: [B,S,N,N+1].
            prediction: flow and scale of `pairs`.
            pairs: the true partners, `pairs_from_labels(targets.labels, N)`.
            targets: labels, flow and visibility.
            batch: the views.
            networks: whose matrices the weight penalty is on.
        """
        means = self._labels(logits, targets) | self._flow(prediction, pairs, targets)
        objects = torch.tensor(float(len(batch.keys)), device=logits.device)
        means["pairs"] = Mean(torch.full_like(objects, len(pairs.b)), objects)
        if self.pose is not None:
            points = PairPoints(pairs, prediction, match_log_probability(logits, pairs))
            terms = self.pose(points, batch, targets.patch_size)
            means |= {f"pose_{name}": mean for name, mean in terms._asdict().items()}
        if self.spec.weight_penalty:
            penalty = weight_penalty(networks)
            means["weight_penalty"] = Mean(penalty, torch.ones_like(penalty))
        values = (
            all_rank_means(means) if self.training else {name: mean.value for name, mean in means.items()}
        )
        return ObjectiveTerms(weighted_total(self.weights, values), values, means, self.weights)

    @property
    def weights(self) -> dict[str, float]:
        """Of the terms, by name."""
        spec, pose = self.spec, self.spec.pose
        # The term of invisible pixels brings its own factor along.
        weights = {"classification": spec.classification, "flow": spec.flow, "invisible": spec.flow}
        if spec.flow_kind != "laplace":
            weights["scale"] = spec.flow
        if spec.weight_penalty:
            weights["weight_penalty"] = spec.weight_penalty
        if self.pose is not None:
            parts = ("monte_carlo", "translation", "rotation")
            weights |= {f"pose_{part}": pose.weight * getattr(pose, part) for part in parts}
        return weights

    def _labels(self, logits: Tensor, targets: PoseTargets) -> dict[str, Mean]:
        loss, *accuracies = classification_loss(
            logits,
            targets.labels,
            unseen_weight=self.spec.unseen_weight,
            label_smoothing=self.spec.label_smoothing,
        )
        names = ("acc_overall", "acc_seen", "acc_unseen")
        return {"classification": loss, **dict(zip(names, accuracies, strict=True))}

    def _flow(self, prediction: PairPrediction, pairs: PatchPairs, targets: PoseTargets) -> dict[str, Mean]:
        at = (pairs.b, pairs.s, pairs.query)
        target, visible = targets.flow[at], targets.visible[at]
        watched = flow_metrics(prediction.flow, target, visible)._asdict()
        named = {f"flow_{name}": mean for name, mean in watched.items()}
        return self._flow_terms(prediction, target, visible) | named

    def _flow_terms(self, prediction: PairPrediction, target: Tensor, visible: Tensor) -> dict[str, Mean]:
        (flow, scale), spec = prediction, self.spec
        likelihood = partial(laplace_flow_loss, invisible_weight=spec.invisible)
        if spec.flow_kind == "laplace":
            terms = likelihood(flow, scale, target, visible)
            return {"flow": terms.loss, "invisible": terms.invisible}
        error = robust_flow_loss(flow, target, visible, kind=spec.flow_kind, delta=spec.huber_delta)
        terms = likelihood(flow.detach(), scale, target, visible)
        return {"flow": error, "scale": terms.loss, "invisible": terms.invisible}
