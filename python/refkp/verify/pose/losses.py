"""Adapters of the losses: patch classification, flow, the size of the weights."""

from __future__ import annotations

import torch
from torch import nn

from refkp.systems.pose.losses.classification import classification_loss
from refkp.systems.pose.losses.flow import flow_metrics, laplace_flow_loss, robust_flow_loss
from refkp.systems.pose.losses.regularisation import regularised_parameters, weight_penalty
from refkp.verify.gradients import leaf, scalar_gradients
from refkp.verify.originals.flow_losses import center_flow_loss, confident_flow_loss, pnp_weights
from refkp.verify.registry import Arrays, Params, Values, adapter


@adapter("pose", "classification_loss")
def _classification_loss(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """Labels of the later revision, or those of the seed with their mask of unseen patches."""
    logits = leaf(arrays["logits"])
    if "patch_cls" in arrays:
        labels = arrays["patch_cls"]
    else:
        labels = torch.where(arrays["unseen_mask"], params["unseen_token_idx"], arrays["labels"])
    terms = classification_loss(
        logits,
        labels,
        temperature=params["tau"],
        unseen_weight=params["weight_unseen"],
        label_smoothing=params.get("label_smoothing", 0.0),
    )
    values = {name: mean.value for name, mean in terms._asdict().items()}
    return {**values, **scalar_gradients(values["loss"], {"grad_logits": logits})}


@adapter("pose", "flow_loss")
def _flow_loss(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """Of patch centres, with a Laplace scale, or of the seed, by what the case brings along."""
    if "valid_w" in arrays:
        return _center(params, arrays)
    return _laplace(params, arrays) if "pred_b" in arrays else _robust(params, arrays)


def _center(params: Params, arrays: Arrays) -> Values:
    flow = leaf(arrays["pred"])
    values: Values = {}
    for kind in ("l1", "huber"):
        loss = center_flow_loss(flow, arrays["gt"], arrays["valid_w"], kind=kind, delta=params["huber_delta"])
        values |= {f"loss_{kind}": loss, **scalar_gradients(loss, {f"grad_{kind}": flow})}
    return values


def _laplace(params: Params, arrays: Arrays) -> Values:
    flow, scale = leaf(arrays["pred_flow"]), leaf(arrays["pred_b"])
    terms = laplace_flow_loss(
        flow,
        scale,
        arrays["gt_flow"],
        arrays["gt_vis"],
        invisible_weight=params["lambda_invis"],
        min_scale=params["clamp_b_min"],
        eps=params["eps_b"],
    )
    loss, invisible = terms.loss.value, terms.invisible.value
    gradients = scalar_gradients(loss + invisible, {"grad_pred_flow": flow, "grad_pred_b": scale})
    options = {"min_scale": params["clamp_b_min"], "eps": params["eps_b"]}
    return {
        "dense_flow_loss": loss,
        "dense_invis_reg": invisible,
        "pnp_weights": pnp_weights(arrays["pred_b"], arrays["gt_vis"], **options),
        **gradients,
    }


def _robust(params: Params, arrays: Arrays) -> Values:
    leaves = {"grad_pred_flow": leaf(arrays["pred_flow"]), "grad_pred_conf": leaf(arrays["pred_conf"])}
    weighted = params["use_confidence_weighting"]
    given = (leaves["grad_pred_flow"], arrays["gt_flow"], ~arrays["unseen_mask"])
    options = {"kind": params["loss_type"], "delta": params["huber_delta"]}
    if weighted:
        loss = confident_flow_loss(*given, leaves["grad_pred_conf"], **options)
    else:
        loss = robust_flow_loss(*given, **options).value
    # A confidence that is not read has no gradient.
    read = leaves if weighted else {"grad_pred_flow": leaves["grad_pred_flow"]}
    unread = {name: torch.zeros_like(tensor) for name, tensor in leaves.items() if name not in read}
    metrics = flow_metrics(arrays["pred_flow"], arrays["gt_flow"], ~arrays["unseen_mask"])._asdict()
    values = {name: mean.value for name, mean in metrics.items()}
    return {"loss": loss, **values, **scalar_gradients(loss, read), **unread}


@adapter("pose", "weight_regularization")
def _weight_regularization(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """The stored weights in a tree of modules; those below `frozen` are not trained."""
    root = nn.Module()
    for path, tensor in arrays.items():
        *parents, name = path.removeprefix("w/").split(".")
        module = root
        for parent in parents:
            if parent not in module._modules:
                module.add_module(parent, nn.Module())
            module = module.get_submodule(parent)
        module.register_parameter(name, nn.Parameter(tensor, requires_grad="frozen" not in parents))
    return {
        "loss": weight_penalty(root, params["weight_decay"]),
        "regularized_names": list(regularised_parameters(root)),
    }
