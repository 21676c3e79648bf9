"""Adapters of the losses: VICReg in its variants."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from refkp.ops import VICRegTerms, vicreg
from refkp.systems.panorama.losses import (
    OverlapLoss,
    VICRegOptions,
    sequential_strip_vicreg,
    sequential_strips,
)
from refkp.verify.gradients import leaf
from refkp.verify.registry import Arrays, Params, Values, adapter


@adapter("panorama", "vicreg_facebook", op="vicreg")
def vicreg_facebook(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """The authors' loss on one segment."""
    x, y = leaf(arrays["x"]), leaf(arrays["y"])
    constants = {"gamma": float(params["gamma"]), "eps": params["eps"]}
    terms = vicreg(x, y, coefficients=_coefficients(params), **constants, backend=backend)
    return _terms(_means(terms), {"x": x, "y": y})


@adapter("panorama", "vicreg_pairwise_pld", op="vicreg")
def vicreg_pairwise_pld(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """panollava's loss on stacked strips [P,L,D]: a segment per pair, biased variance, half covariance."""
    x, y = leaf(arrays["x"]), leaf(arrays["y"])
    pairs, length, _ = x.shape
    terms = vicreg(
        x.flatten(0, 1),
        y.flatten(0, 1),
        torch.arange(pairs + 1) * length,
        coefficients=_coefficients(params),
        gamma=float(params["gamma"]),
        eps=params["eps"],
        unbiased=False,
        covariance="mean",
        backend=backend,
    )
    return _terms(_means(terms), {"x": x, "y": y})


@adapter("panorama", "vicreg_lightly", op="vicreg")
def vicreg_lightly(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """lightly's loss on [B,...,D]: one segment over the batch per middle position."""
    za, zb = leaf(arrays["za"]), leaf(arrays["zb"])
    a, b = (z.flatten(1, -2).transpose(0, 1) if z.dim() > 2 else z[None] for z in (za, zb))
    positions, batch, _ = a.shape
    offsets = torch.arange(positions + 1) * batch
    a, b = a.flatten(0, 1), b.flatten(0, 1)
    invariance, variance, covariance = (float(params[f"{name}_param"]) for name in ("lambda", "mu", "nu"))
    both = vicreg(a, b, offsets, coefficients=(invariance, variance, covariance), backend=backend)
    branches = {
        name: vicreg(z, z, offsets, covariance="mean", backend=backend) for name, z in (("a", a), ("b", b))
    }
    loss = both.total.mean()
    grad_za, grad_zb = torch.autograd.grad(loss, (za, zb))
    values = {"loss": loss, "inv": both.invariance.mean(), "grad_za": grad_za, "grad_zb": grad_zb}
    for name, terms in branches.items():
        values |= {f"var_{name}": terms.variance.mean(), f"cov_{name}": terms.covariance.mean()}
    return values


@adapter("panorama", "vicreg_strip_sequential", op="vicreg")
def vicreg_strip_sequential(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """panollava's loss between the facing strips of consecutive views."""
    features = leaf(arrays["features"])
    views = features.unflatten(0, (params["B"], params["V"]))
    grid, prefix = (params["H"], params["W"]), int(params["has_cls"])
    ratio = params["overlap_ratio"]
    strips = sequential_strips(views, grid, ratio, num_prefix_tokens=prefix)
    loss = sequential_strip_vicreg(
        views, grid, ratio, VICRegOptions(), mode=params["mode"], num_prefix_tokens=prefix, backend=backend
    )
    values = _terms(loss, {"": features})
    return {**values, "strip_curr": strips.current, "strip_next": strips.following}


def _coefficients(params: Params) -> tuple[float, float, float]:
    a, b, c = (float(value) for value in params["coeff"])
    return a, b, c


def _means(terms: VICRegTerms) -> VICRegTerms:
    return VICRegTerms(*(term.mean() for term in terms))


def _terms(loss: OverlapLoss | VICRegTerms, inputs: Mapping[str, Tensor]) -> Values:
    """The terms under the names of the golden cases, and the gradient of each to each input."""
    terms = {"total": loss.total, "inv": loss.invariance, "var": loss.variance, "cov": loss.covariance}
    values: Values = dict(terms)
    for term, value in terms.items():
        grads = torch.autograd.grad(value, tuple(inputs.values()), retain_graph=True)
        for name, grad in zip(inputs, grads, strict=True):
            values["_".join(part for part in ("grad", name, term) if part)] = grad
    return values
