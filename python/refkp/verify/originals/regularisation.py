"""A penalty on the size of the weights of a model, in the place of AdamW's decay (spec pose 4.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

#: Modules whose parameters scale or shift what they normalise; their size is not penalised.
NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, _NormBase)


def weight_penalty(module: nn.Module, weight_decay: float = 1e-4) -> Tensor:
    """weight_decay * sum of squares of the regularised parameters.

    The decoupled decay of AdamW already shrinks the same matrices: use one of the two.

    Args:
        module: the model.
        weight_decay: factor of the sum.

    Returns:
        Scalar with gradient to the parameters.

    Source: spec pose 4.3.

    >>> layer = nn.Linear(2, 2)
    >>> _ = nn.init.ones_(layer.weight)
    >>> weight_penalty(layer, 0.5)
    tensor(2., grad_fn=<MulBackward0>)
    """
    squares = [parameter.square().sum() for parameter in regularised_parameters(module).values()]
    return weight_decay * torch.stack(squares).sum() if squares else torch.zeros(())


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
