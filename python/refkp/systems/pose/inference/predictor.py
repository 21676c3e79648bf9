"""Who says which patches match, and the model as the one who does. Source: spec pose 6.1, 6.4."""

from __future__ import annotations

from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from refkp._checks import fail
from refkp.systems.pose.inference.bank import TemplateBank
from refkp.systems.pose.inference.matches import Prediction, best_partners
from refkp.systems.pose.model.pairs import pairs_from_labels
from refkp.systems.pose.model.tokens import Tokens
from refkp.systems.pose.model.vpog import Vpog
from refkp.systems.pose.templates.selection import view_directions
from refkp.systems.pose.views import Views


class Predictor(Protocol):
    """Answers about one query and the templates [k] int64 of one object.

    A model is trained with the template that sees the object from nearest by, the anchor, and a few more. Of the
    templates of a cluster the first is the anchor. Asked about all of them, each could be the one: it is its own
    anchor, and what is said of it does not depend on which others are asked at the same time.
    """

    def logits(self, templates: Tensor) -> Tensor:
        """[k,N,N+1], each template seen alone."""

    def alone(self, templates: Tensor) -> Prediction:
        """The same with the flow of every query patch to its partner."""

    def together(self, templates: Tensor) -> Prediction:
        """Of templates that are seen together, as in training, the first as the anchor."""


class ModelPredictor:
    """The model on one query and the templates of a bank; works on the device of the model, answers on the CPU."""

    def __init__(self, model: Vpog, bank: TemplateBank, query: Views) -> None:
        if query.masks.dim() != 2:
            fail("ModelPredictor", "query", "one view without leading axes", list(query.masks.shape))
        self.model = model
        self.bank = bank
        self.query = query

    @cached_property
    @torch.inference_mode()
    def query_features(self) -> Tensor:
        """[1,N,C] on the device of the model, encoded at the first question."""
        device = next(self.model.parameters()).device
        return self.model.encode(self.query.images[None].to(device))

    @torch.inference_mode()
    def logits(self, templates: Tensor) -> Tensor:
        """[k,N,N+1], each template seen alone."""
        return self.model.classify(self._tokens(templates[:, None])).flatten(0, 1).cpu()

    @torch.inference_mode()
    def alone(self, templates: Tensor) -> Prediction:
        """Logits and flow from one pass, each template seen alone."""
        return self._prediction(templates[:, None])

    @torch.inference_mode()
    def together(self, templates: Tensor) -> Prediction:
        """Logits and flow of templates that read each other, the first as the anchor."""
        return self._prediction(templates[None])

    def _prediction(self, groups: Tensor) -> Prediction:
        tokens = self._tokens(groups)
        logits = self.model.classify(tokens)
        labels = best_partners(logits)
        pairs = self.model.flow(tokens, pairs_from_labels(labels, logits.shape[2]))
        # Every patch has a partner, and pairs come in the order (template, query).
        shape = labels.flatten(0, 1).shape
        flow, scale = (tensor.unflatten(0, shape).cpu() for tensor in (pairs.flow, pairs.scale))
        return Prediction(logits.flatten(0, 1).cpu(), flow, scale)

    def _tokens(self, groups: Tensor) -> Tokens:
        """Of the query beside each group of templates, `groups` [b,k] int64; the first of a group is its anchor."""
        query = self.query_features.expand(len(groups), -1, -1)
        poses = self.bank.cam_from_obj[groups]
        reference = view_directions(poses[:, 0, :3, :3])
        features = self.bank.features[groups]
        return self.model.attend(query, features, poses.to(query.device), reference.to(query))
