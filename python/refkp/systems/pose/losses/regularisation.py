"""A penalty on the size of the weights of a model, beside AdamW's decay or in its place (spec pose 4.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

#: Modules whose parameters scale or shift what they normalise; their size is not penalised.
NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, _NormBase)


def weight_penalty(module: nn.Module, factor: float = 1e-4) -> Tensor:
    """factor * sum of squares of the regularised parameters.

    AdamW's decay shrinks the same matrices, all by one rate; the gradient of this term is divided by the size of
    the other gradients like all that Adam is given. They are not the same, and they add up.

    Args:
        module: the model.
        factor: of the sum; the default brings it to order one.

    Returns:
        Scalar with gradient to the parameters.

    Source: spec pose 4.3.

    >>> layer = nn.Linear(2, 2)
    >>> _ = nn.init.ones_(layer.weight)
    >>> weight_penalty(layer, 0.5)
    tensor(2., grad_fn=<MulBackward0>)
    """
    squares = [parameter.square().sum() for parameter in regularised_parameters(module).values()]
    return factor * torch.stack(squares).sum() if squares else torch.zeros(())


def regularised_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """Trainable parameters with two or more axes outside normalisation layers, by qualified name.

    Vectors (biases, scales) are left out by their shape, normalisation by its type, never by a name.
    """
    norms = {
        id(parameter)
        for part in module.modules()
        if isinstance(part, NORMS)
        for parameter in part.parameters(recurse=False)
    }
    return {
        name: parameter
        for name, parameter in module.named_parameters()
        if parameter.requires_grad and parameter.dim() > 1 and id(parameter) not in norms
    }
