"""Who says which patches match: the model, or ground truth in its place. Source: spec pose 6.1, 6.4."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from refkp._checks import fail
from refkp.systems.pose.inference.bank import TemplateBank
from refkp.systems.pose.inference.matches import Prediction, best_partners
from refkp.systems.pose.model.pairs import pairs_from_labels
from refkp.systems.pose.model.vpog import Tokens, Vpog
from refkp.systems.pose.targets import PoseTargets, TargetSpec, pose_targets
from refkp.systems.pose.templates.selection import view_directions
from refkp.systems.pose.views import Views

#: Logits of ground truth: the softmax over 197 classes gives its class 1 - 4e-7.
_CERTAIN = 20.0


class Predictor(Protocol):
    """Answers about one query and the templates of one object."""

    def logits(self, templates: Tensor, anchor: int) -> Tensor:
        """[k,N,N+1] of the templates [k] int64, seen together; `anchor` is the template of the reference direction."""

    def predict(self, templates: Tensor, anchor: int) -> Prediction:
        """The same with the flow of every query patch to its partner."""


class ModelPredictor:
    """The model on one query; templates come from the bank, in float32."""

    def __init__(self, model: Vpog, bank: TemplateBank, query: Views) -> None:
        if query.masks.dim() != 2:
            fail("ModelPredictor", "query", "one view without leading axes", list(query.masks.shape))
        self.model = model
        self.bank = bank
        with torch.inference_mode():
            self.query_features = model.encode(query.images[None])

    @torch.inference_mode()
    def logits(self, templates: Tensor, anchor: int) -> Tensor:
        """[k,N,N+1]; a joint attention, so they depend on which templates are seen together."""
        return self.model.classify(self._tokens(templates, anchor))[0]

    @torch.inference_mode()
    def predict(self, templates: Tensor, anchor: int) -> Prediction:
        """Logits and flow from one pass."""
        tokens = self._tokens(templates, anchor)
        logits = self.model.classify(tokens)
        labels = best_partners(logits)
        pairs = self.model.flow(tokens, pairs_from_labels(labels, logits.shape[2]))
        shape = labels.shape[1:]  # every patch has a partner, and pairs come in the order (template, query)
        return Prediction(logits[0], pairs.flow.unflatten(0, shape), pairs.scale.unflatten(0, shape))

    def _tokens(self, templates: Tensor, anchor: int) -> Tokens:
        features = self.bank.features[templates].to(self.query_features.dtype)
        poses = self.bank.cam_from_obj[templates].to(features.dtype)
        direction = view_directions(self.bank.cam_from_obj[anchor, :3, :3]).to(features.dtype)
        return self.model.attend(self.query_features, features[None], poses[None], direction[None])


class TargetPredictor:
    """Ground truth in place of the model: what a perfect one would say."""

    def __init__(
        self, query: Views, templates: Views, patch_size: int, spec: TargetSpec = TargetSpec()
    ) -> None:
        self.query = query
        self.templates = templates
        self.patch_size = patch_size
        self.spec = spec

    def logits(self, templates: Tensor, anchor: int) -> Tensor:
        """[k,N,N+1]; the reference direction plays no part."""
        return self.predict(templates, anchor).logits

    def predict(self, templates: Tensor, anchor: int) -> Prediction:
        """The targets as a prediction."""
        query = self.query.select_all()
        return prediction_from_targets(pose_targets(query, chosen, self.patch_size, self.spec))


def prediction_from_targets(targets: PoseTargets, item: int = 0, *, scale: float = 0.01) -> Prediction:
    """The prediction that the targets of batch item `item` describe.

    Logits are 20 for the label and 0 else; a query patch off the object is "unseen". A visible pixel has the
    Laplace scale `scale`, others an infinite one, so that they make no match.

    Args:
        targets: of B queries.
        item: which of them.
        scale: of visible pixels, in patch units.
    """
    labels = targets.labels[item]
    num_patches = labels.shape[-1]
    classes = torch.where(labels < 0, num_patches, labels)
    logits = torch.zeros(*classes.shape, num_patches + 1).scatter_(-1, classes[..., None], _CERTAIN)
    spread = torch.where(targets.visible[item], scale, torch.inf)
    return Prediction(logits, targets.flow[item], spread)
