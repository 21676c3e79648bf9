"""Golden adapters of the panorama system: each renames, reshapes and calls the public API, nothing more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from refkp.geometry.sphere import (
    equilib_rotation,
    half_tangents,
    intersection_solid_angle,
    tile_solid_angle,
    view_rotation,
)
from refkp.ops import VICRegTerms, e2p, vicreg
from refkp.systems.panorama.correspondence import project_tokens
from refkp.systems.panorama.layout import ErpLayout
from refkp.systems.panorama.losses import (
    OverlapLoss,
    VICRegOptions,
    sequential_strip_vicreg,
    sequential_strips,
)
from refkp.systems.panorama.pairs import PairRule, tile_distance, tile_pairs
from refkp.systems.panorama.views import render_cubemap
from refkp.verify.registry import adapter

Params = Mapping[str, Any]
Arrays = Mapping[str, Tensor]
Values = dict[str, Tensor]


@adapter("panorama", "e2p_py360", op="e2p")
def e2p_py360(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """py360convert's single view: channels last, or none; one field of view for both sides, or a pair."""
    source = _leaf(arrays["erp"])
    erp = source if source.dim() == 3 else source[..., None]
    fov = params["fov_deg"]
    hfov_deg, vfov_deg = fov if isinstance(fov, (list, tuple)) else (fov, fov)
    rotation = view_rotation(params["u_deg"], params["v_deg"], params["in_rot_deg"])
    view = e2p(
        erp.permute(2, 0, 1)[None],
        rotation[None].to(erp.device),
        hfov_deg=hfov_deg,
        vfov_deg=vfov_deg,
        size=params["out_hw"],
        convention="py360convert",
        mode=params["mode"],
        backend=backend,
    )
    out = view[0].permute(1, 2, 0).reshape(*params["out_hw"], *source.shape[2:])
    return {"out": out, **_projected_gradient(out, arrays, "erp", source)}


@adapter("panorama", "e2c_py360", op="e2p")
def e2c_py360(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """py360convert's cube faces side by side, channels last."""
    erp = _leaf(arrays["erp"])
    faces = render_cubemap(
        erp.permute(2, 0, 1)[None], params["face_w"], convention="py360convert", backend=backend
    )
    out = faces[0].permute(2, 0, 3, 1).flatten(1, 2)
    return {"out": out, **_projected_gradient(out, arrays, "erp", erp)}


@adapter("panorama", "equi2pers_equilib", op="e2p")
def equi2pers_equilib(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """equilib's views of a batch, one rotation per image; a single image has no batch axis."""
    source = _leaf(arrays["equi"])
    erp = source if source.dim() == 4 else source[None]
    rotation = [equilib_rotation(**angles, z_down=params["z_down"]) for angles in params["rots"]]
    views = e2p(
        erp,
        torch.stack(rotation).to(erp.device),
        hfov_deg=params["fov_x_deg"],
        size=(params["height"], params["width"]),
        convention="equilib",
        mode=params["mode"],
        backend=backend,
    )
    out = views if source.dim() == 4 else views[0]
    return {"out": out, **_projected_gradient(out, arrays, "equi", source)}


def _leaf(array: Tensor) -> Tensor:
    """An input of the case that collects gradients, apart from the case's own array."""
    return array.detach().requires_grad_(array.is_floating_point())


def _projected_gradient(out: Tensor, arrays: Arrays, name: str, source: Tensor) -> Values:
    """The gradient of sum(out * proj) to the input `source`, where the case has a projection."""
    if "proj" not in arrays or not source.requires_grad:
        return {}
    (grad,) = torch.autograd.grad(out, source, arrays["proj"].to(out))
    return {f"grad_{name}": grad}


@adapter("panorama", "anyres_layout")
def anyres_layout(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """The tile records of a layout; the original writes its centres as (forward, up, right)."""
    layout = ErpLayout.build(
        hfov_deg=params["hfov_deg"],
        overlap=params["overlap"],
        closed_loop_yaw=params["closed_loop_yaw"],
        yaw_phase_deg=params["yaw_phase_deg"],
        include_seam_center=params["include_seam_center"],
        pitch_min_deg=params["pitch_min"],
        pitch_max_deg=params["pitch_max"],
    )
    angles = {
        name: torch.tensor([getattr(tile, name) for tile in layout.tiles], dtype=torch.float64)
        for name in ("yaw_deg", "pitch_deg", "hfov_deg", "vfov_deg")
    }
    tile_id = torch.tensor([tile.tile_id for tile in layout.tiles])
    forward = torch.stack([tile.forward_xyz for tile in layout.tiles])
    return {"tile_id": tile_id, **angles, "center_xyz": forward.flip(-1)}


@adapter("panorama", "tile_pairs")
def tile_pairs_box(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """Pairs of several layouts under the three strategies with the box estimate."""
    values = {}
    for name, group in params.items():
        yaw, pitch = arrays[f"{name}_yaw"].tolist(), arrays[f"{name}_pitch"].tolist()
        layout = ErpLayout.from_angles(yaw, pitch, hfov_deg=group["hfov_deg"])
        values[f"{name}_gc_deg"] = torch.rad2deg(tile_distance(layout))
        for strategy in ("adjacent", "distance_based", "all_pairs"):
            rule = PairRule(strategy, "box", max_distance_deg=group["distance_threshold"])
            pairs = tile_pairs(layout, rule)
            values[f"{name}_{strategy}_ij"] = pairs.ij
            values[f"{name}_{strategy}_overlap"] = pairs.overlap
    return values


@adapter("panorama", "token_overlap")
def token_overlap(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """Token correspondences and shared solid angle of pairs of square tiles."""
    rotation_a, rotation_b = (view_rotation(*arrays[name].unbind(-1)) for name in ("tile_a", "tile_b"))
    fov = torch.full(rotation_a.shape[:1], params["fov_deg"], dtype=rotation_a.dtype)
    tangent = half_tangents(fov, fov)
    grid = (params["n_tokens"], params["n_tokens"])
    projection = project_tokens(rotation_a, rotation_b, tangent, tangent, grid)
    shared = [
        intersection_solid_angle(a, t, b, t) for a, b, t in zip(rotation_a, rotation_b, tangent, strict=True)
    ]
    return {
        "row_in_b": projection.row,
        "col_in_b": projection.col,
        "visible": projection.visible,
        "solid_angle_overlap": torch.tensor(shared, dtype=torch.float64) / tile_solid_angle(tangent),
    }


@adapter("panorama", "vicreg_facebook", op="vicreg")
def vicreg_facebook(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """The authors' loss on one segment."""
    x, y = _leaf(arrays["x"]), _leaf(arrays["y"])
    constants = {"gamma": float(params["gamma"]), "eps": params["eps"]}
    terms = vicreg(x, y, coefficients=_coefficients(params), **constants, backend=backend)
    return _terms(_means(terms), {"x": x, "y": y})


@adapter("panorama", "vicreg_pairwise_pld", op="vicreg")
def vicreg_pairwise_pld(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """panollava's loss on stacked strips [P,L,D]: a segment per pair, biased variance, half covariance."""
    x, y = _leaf(arrays["x"]), _leaf(arrays["y"])
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
    za, zb = _leaf(arrays["za"]), _leaf(arrays["zb"])
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
    features = _leaf(arrays["features"])
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
