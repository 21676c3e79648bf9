"""Adapters of what renders a panorama: perspective views, cube faces, crop strategies."""

from __future__ import annotations

import torch

from refkp.geometry.sphere import equilib_rotation, view_rotation
from refkp.nn.pixels import IMAGENET
from refkp.ops import e2p
from refkp.systems.panorama.views.crops import crop_layout
from refkp.systems.panorama.views.cubemap import render_cubemap
from refkp.systems.panorama.views.layout import ErpLayout
from refkp.systems.panorama.views.rendering import OriginalTiles, letterbox, render_views
from refkp.systems.panorama.views.spec import CropSpec
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


@adapter("panorama", "e2p_py360_uint8", op="e2p")
def e2p_py360_uint8(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """The same from bytes; the float result is compared."""
    view = e2p_py360(params, {"erp": arrays["erp"].float()}, backend)
    return {"out_float": view["out"]}


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


@adapter("panorama", "crop_strategies")
def crop_strategies(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """The views of every strategy of the image processor, with its two steps for tiles."""
    erp = arrays["erp"].permute(2, 0, 1)[None]
    height, width = params["image_size_hw"]
    values: Values = {}
    for strategy in params["num_views"]:
        spec = CropSpec(strategy, params["fov_deg"], params["overlap_ratio"], params["anyres_max_patches"])
        layout = crop_layout(spec, (erp.shape[2], erp.shape[3]), (height, width))
        original = OriginalTiles((width, width) if strategy == "cubemap" else (height, width))
        views = render_views(
            erp, layout, (height, width), any_aspect=True, original=original, backend=backend
        )
        views = views.normalised(IMAGENET) if params["normalize"] else views
        values[f"views_{strategy}"] = views.pixels[0]
        values[f"yaw_{strategy}"] = torch.tensor([view.yaw_deg for view in layout.views], dtype=torch.float64)
    return values


@adapter("panorama", "anyres_pack")
def anyres_pack(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """The letterboxed global view of the original, in its two steps, and the directions of the tiles."""
    base_size, vit_size = params["base_size"], params["vit_size"]
    size = base_size if vit_size is None else vit_size
    layout = ErpLayout.build(
        hfov_deg=params["hfov_deg"],
        overlap=params["overlap"],
        closed_loop_yaw=params["closed_loop_yaw"],
        yaw_phase_deg=params.get("yaw_phase_deg", 0.0),
        include_seam_center=params.get("include_seam_center", False),
        pitch_min_deg=params["pitch_min"],
        pitch_max_deg=params["pitch_max"],
    )
    angles = {
        name: torch.tensor([getattr(tile, name) for tile in layout.tiles], dtype=torch.float64)
        for name in ("yaw_deg", "pitch_deg")
    }
    erp = arrays["erp"].permute(2, 0, 1)[None]
    return {"global_image": letterbox(erp, size, base_size=base_size)[0], **angles}
