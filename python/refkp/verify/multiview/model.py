"""Adapters of the networks: fusion of views, and a layer of the decoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from refkp.systems.multiview.model.decoder import DecoderLayer, normalised
from refkp.systems.multiview.model.fusion import CrossViewAttention
from refkp.verify.gradients import leaf, scalar_gradients
from refkp.verify.registry import adapter

_PARAMETER = "in_p_"


def _loaded(network: nn.Module, arrays: Mapping[str, Tensor]) -> nn.Module:
    """The network with the parameters of a case, in evaluation mode."""
    state = {
        name.removeprefix(_PARAMETER).replace("__", "."): value
        for name, value in arrays.items()
        if name.startswith(_PARAMETER)
    }
    network.to(next(iter(state.values())).dtype).load_state_dict(state)
    return network.eval()


@adapter("multiview", "fusion_cross_view")
def _fusion(params: Mapping[str, Any], arrays: Mapping[str, Tensor], backend: str | None) -> dict[str, Any]:
    network = _loaded(CrossViewAttention(params["dim"], params["heads"], params["layers"]), arrays)
    x, mask = leaf(arrays["in_x"]), arrays["in_view_mask"].bool()
    y = network(x, mask)
    score = (arrays["in_w"] * y * mask[..., None]).sum()
    return {"out_y": y, **scalar_gradients(score, {"grad_x": x})}


@adapter("multiview", "decoder_layer")
def _decoder_layer(
    params: Mapping[str, Any], arrays: Mapping[str, Tensor], backend: str | None
) -> dict[str, Any]:
    hidden = len(arrays["in_p_ff__net__0__weight"])
    sizes = (params["dim"], params["context_dim"], params["heads"], params["dim_head"])
    network = _loaded(DecoderLayer(*sizes, hidden=hidden), arrays)
    x, context = leaf(arrays["in_x"]), leaf(arrays["in_context"])
    keys = arrays["in_mask"].bool() if "in_mask" in arrays else None
    y = network(x[:, 0], normalised(context), keys)[:, None]
    score = (arrays["in_w"] * y).sum()
    return {"out_y": y, **scalar_gradients(score, {"grad_x": x, "grad_context": context})}
