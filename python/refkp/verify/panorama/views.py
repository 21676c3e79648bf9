"""Adapters of what renders a panorama: perspective views, cube faces."""

from __future__ import annotations

import torch

from refkp.geometry.sphere import equilib_rotation, view_rotation
from refkp.ops import e2p
from refkp.systems.panorama.views import render_cubemap
from refkp.verify.gradients import leaf, projected_gradients
from refkp.verify.registry import Arrays, Params, Values, adapter


@adapter("panorama", "e2p_py360", op="e2p")
def e2p_py360(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """py360convert's single view: channels last, or none; one field of view for both sides, or a pair."""
    source = leaf(arrays["erp"])
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
    return {"out": out, **projected_gradients([(out, arrays.get("proj"))], {"grad_erp": source})}


@adapter("panorama", "e2c_py360", op="e2p")
def e2c_py360(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """py360convert's cube faces side by side, channels last."""
    erp = leaf(arrays["erp"])
    faces = render_cubemap(
        erp.permute(2, 0, 1)[None], params["face_w"], convention="py360convert", backend=backend
    )
    out = faces[0].permute(2, 0, 3, 1).flatten(1, 2)
    return {"out": out, **projected_gradients([(out, arrays.get("proj"))], {"grad_erp": erp})}


@adapter("panorama", "equi2pers_equilib", op="e2p")
def equi2pers_equilib(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """equilib's views of a batch, one rotation per image; a single image has no batch axis."""
    source = leaf(arrays["equi"])
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
    return {"out": out, **projected_gradients([(out, arrays.get("proj"))], {"grad_equi": source})}
