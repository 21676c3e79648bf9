"""Ground truth in place of a model, so that all that follows a model can be judged without one."""

from __future__ import annotations

import torch
from torch import Tensor

from refkp._checks import fail
from refkp.systems.pose.inference.matches import Prediction
from refkp.systems.pose.targets import PoseTargets, TargetSpec, pose_targets
from refkp.systems.pose.views import Views

#: Logit of the right class; the softmax over 197 classes gives it 1 - 4e-7.
_CERTAIN = 20.0


class TargetPredictor:
    """What a perfect model would say about one query; a `Predictor`."""

    def __init__(
        self,
        query: Views,
        templates: Views,
        patch_size: int,
        spec: TargetSpec = TargetSpec(),  # noqa: B008 (frozen)
    ) -> None:
        if query.masks.dim() != 2 or templates.masks.dim() != 3:
            got = f"masks {list(query.masks.shape)} and {list(templates.masks.shape)}"
            fail("TargetPredictor", "query, templates", "one view and views [S]", got)
        self.query = Views(*(tensor[None] for tensor in query))
        self.templates = templates
        self.patch_size = patch_size
        self.spec = spec

    def logits(self, templates: Tensor) -> Tensor:
        """[k,N,N+1]."""
        return self.together(templates).logits

    def alone(self, templates: Tensor) -> Prediction:
        """The same as together."""
        return self.together(templates)

    def together(self, templates: Tensor) -> Prediction:
        """The targets of the templates [k] int64 as a prediction."""
        chosen = Views(*(tensor[templates][None] for tensor in self.templates))
        return prediction_from_targets(pose_targets(self.query, chosen, self.patch_size, self.spec))


def prediction_from_targets(targets: PoseTargets, item: int = 0, *, scale: float = 0.01) -> Prediction:
    """The prediction that the targets of one batch item describe.

    The logit of the label is 20 and the others 0; a query patch off the object is "unseen". Visible pixels
    have the Laplace scale `scale`, the others an infinite one, so that they make no match.

    Args:
        targets: of B queries.
        item: which of them.
        scale: of visible pixels, in patch units; > 0.
    """
    labels = targets.labels[item]
    num_patches = labels.shape[-1]
    classes = torch.where(labels < 0, num_patches, labels)
    logits = labels.new_zeros((*classes.shape, num_patches + 1), dtype=torch.float32)
    logits.scatter_(-1, classes[..., None], _CERTAIN)
    spread = torch.where(targets.visible[item], scale, torch.inf)
    return Prediction(logits, targets.flow[item], spread)
