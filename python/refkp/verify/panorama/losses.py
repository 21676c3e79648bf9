"""Adapters of the losses: VICReg in its variants, contrastive losses, global against local."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from refkp.ops import VICRegTerms, vicreg
from refkp.systems.panorama.losses import (
    LossTerms,
    RegionView,
    VICRegLOptions,
    VICRegOptions,
    densecl,
    global_local,
    multicrop_pairs,
    pano_contrastive,
    ring_strip_vicreg,
    sequential_strip_vicreg,
    sequential_strips,
    shared_vicreg,
    strip_pairs,
    vicregl,
)
from refkp.systems.panorama.views.layout import ErpLayout
from refkp.verify.gradients import leaf, scalar_gradients
from refkp.verify.ranks import run_ranks
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


@adapter("panorama", "vicreg_facebook_ddp2")
def vicreg_facebook_ddp2(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """The authors' loss in as many processes as ranks, with gathered statistics."""
    options = VICRegOptions(_coefficients(params), unbiased=True, covariance="sum")
    ranks = run_ranks(_rank_of_ddp, [(x, y, options) for x, y in zip(arrays["x"], arrays["y"], strict=True)])
    return {name: torch.stack([values[name] for values in ranks]) for name in ("loss", "grad_x", "grad_y")}


def _rank_of_ddp(x: Tensor, y: Tensor, options: VICRegOptions) -> Values:
    x, y = leaf(x), leaf(y)
    loss = shared_vicreg(x[None], y[None], options).total
    return {"loss": loss.detach(), **scalar_gradients(loss, {"grad_x": x, "grad_y": y})}


@adapter("panorama", "vicregl_lightly", op="vicreg")
def vicregl_lightly(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """lightly's VICRegL on global and local crops; maps and grids are channels last."""
    names = [f"g{k}" for k in range(params["n_global"])] + [f"l{k}" for k in range(params["n_local"])]
    leaves = {
        f"grad_{name}_{part}": leaf(arrays[f"{name}_{part}"]) for name in names for part in ("vec", "map")
    }
    views = [
        RegionView(
            leaves[f"grad_{name}_vec"],
            leaves[f"grad_{name}_map"].flatten(1, 2),
            arrays[f"{name}_grid"].flatten(1, 2),
        )
        for name in names
    ]
    first, second = params["num_matches"]
    loss = vicregl(
        views,
        multicrop_pairs(params["n_global"], params["n_local"]),
        VICRegLOptions(params["alpha"], (first, second)),
        backend=backend,
    )
    values = {"loss": loss.total, "global_loss": loss.terms["global"], "local_loss": loss.terms["local"]}
    scalars = {name: value.reshape(1) for name, value in values.items()}
    return {**scalars, **scalar_gradients(loss.total, leaves)}


@adapter("panorama", "vicreg_anyres_ring", op="vicreg")
def vicreg_anyres_ring(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """panollava's grid pairing on one closed row of tiles."""
    features = leaf(arrays["features"])
    yaw = arrays["yaw_deg"].tolist()
    layout = ErpLayout.from_angles(yaw, [0.0] * len(yaw), hfov_deg=params["hfov_deg"])
    loss = ring_strip_vicreg(
        features.unflatten(0, (params["B"], params["n_tiles"])),
        layout,
        _square(params),
        mode=params.get("mode", "pairwise"),
        num_prefix_tokens=int(params["has_cls"]),
        backend=backend,
    ).total
    return {"loss": loss, **scalar_gradients(loss, {"grad": features})}


@adapter("panorama", "densecl_strip")
def densecl_strip(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """DenseCL on the facing strips of consecutive views, candidates from the whole batch."""
    features = leaf(arrays["features"])
    views = features.unflatten(0, (params["B"], params["V"]))
    pairs = strip_pairs(views, _square(params), params["overlap_ratio"], group="pair")
    loss = densecl(pairs, temperature=params["temperature"]).total
    return {"loss": loss, **scalar_gradients(loss, {"grad": features})}


@adapter("panorama", "pano_contrastive")
def pano_contrastive_strip(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """Contrast of two dropout samples, between facing strips and within each view."""
    z1, z2 = leaf(arrays["z1"]), leaf(arrays["z2"])
    first, second = (z.unflatten(0, (params["B"], params["V"])) for z in (z1, z2))
    pairs = strip_pairs(
        first, _square(params), params["overlap_ratio"], partner_features=second, group="pair"
    )
    loss = pano_contrastive(
        pairs,
        z1,
        z2,
        temperature=params["tau_overlap"],
        tile_temperature=params["tau_tile"],
        tile_weight=params["tile_weight"],
    )
    values = {"loss": loss.total, "overlap_loss": loss.terms["overlap"], "tile_loss": loss.terms["tile"]}
    return {**values, **scalar_gradients(loss.total, {"grad_z1": z1, "grad_z2": z2})}


@adapter("panorama", "global_local")
def global_local_pooled(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """The mean token of the global view against that of the tiles."""
    whole, tiles = leaf(arrays["global_features"]), leaf(arrays["tile_features"])
    parts = tiles.unflatten(0, (params["B"], params["T"]))
    loss = global_local(whole, parts, distance=params["loss_type"]).total
    return {"loss": loss, **scalar_gradients(loss, {"grad_global": whole, "grad_tiles": tiles})}


def _square(params: Params) -> tuple[int, int]:
    return params["grid"], params["grid"]


def _coefficients(params: Params) -> tuple[float, float, float]:
    a, b, c = (float(value) for value in params["coeff"])
    return a, b, c


def _means(terms: VICRegTerms) -> LossTerms:
    total, *parts = (term.mean() for term in terms)
    return LossTerms(total, dict(zip(terms._fields[1:], parts, strict=True)), "vicreg")


def _terms(loss: LossTerms, inputs: Mapping[str, Tensor]) -> Values:
    """The terms under the names of the golden cases, and the gradient of each to each input."""
    names = {"inv": "invariance", "var": "variance", "cov": "covariance"}
    terms = {"total": loss.total, **{short: loss.terms[name] for short, name in names.items()}}
    values: Values = dict(terms)
    for term, value in terms.items():
        grads = torch.autograd.grad(value, tuple(inputs.values()), retain_graph=True)
        for name, grad in zip(inputs, grads, strict=True):
            values["_".join(part for part in ("grad", name, term) if part)] = grad
    return values
