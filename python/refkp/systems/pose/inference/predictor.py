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
from refkp.systems.pose.model.vpog import Tokens, Vpog
from refkp.systems.pose.templates.selection import view_directions
from refkp.systems.pose.views import Views


class Predictor(Protocol):
    """Answers about one query and the templates of one object."""

    def logits(self, templates: Tensor, anchor: int) -> Tensor:
        """[k,N,N+1] of the templates [k] int64, seen together; `anchor` is the template of the reference direction."""

    def predict(self, templates: Tensor, anchor: int) -> Prediction:
        """The same with the flow of every query patch to its partner."""


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
    def logits(self, templates: Tensor, anchor: int) -> Tensor:
        """[k,N,N+1]; a joint attention, so they depend on which templates are seen together."""
        return self.model.classify(self._tokens(templates, anchor))[0].cpu()

    @torch.inference_mode()
    def predict(self, templates: Tensor, anchor: int) -> Prediction:
        """Logits and flow from one pass."""
        tokens = self._tokens(templates, anchor)
        logits = self.model.classify(tokens)
        labels = best_partners(logits)
        pairs = self.model.flow(tokens, pairs_from_labels(labels, logits.shape[2]))
        shape = labels.shape[1:]  # every patch has a partner, and pairs come in the order (template, query)
        flow, scale = (tensor.unflatten(0, shape).cpu() for tensor in (pairs.flow, pairs.scale))
        return Prediction(logits[0].cpu(), flow, scale)

    def _tokens(self, templates: Tensor, anchor: int) -> Tokens:
        query, poses = self.query_features, self.bank.cam_from_obj
        direction = view_directions(poses[anchor, :3, :3])
        features = self.bank.features[templates][None]
        return self.model.attend(query, features, poses[templates][None].to(query), direction[None].to(query))
