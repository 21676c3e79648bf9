"""`refkp pose infer`: the pose of one's own object in one's own photo."""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from refkp._checks import fail
from refkp._extras import named_extras

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from refkp.data.meshes import Mesh
    from refkp.systems.pose.inference.estimator import PoseEstimate
    from refkp.systems.pose.inference.failure import EstimateFailure
    from refkp.systems.pose.inference.photo import Photo
    from refkp.systems.pose.views import Views

#: By how much the size of the templates' object may differ from that of the mesh.
_DIAMETER_TOLERANCE = 0.02

_OWN_OBJECT = 1  # its number among templates that are rendered on the way


def infer(argv: list[str]) -> int:
    """Estimate the pose of an object in a photo, from its mesh and a trained run."""
    from refkp.data.meshes import load_mesh
    from refkp.systems.pose.inference.estimator import PoseEstimate
    from refkp.systems.pose.inference.photo import read_photo

    parser = _parser()
    options = parser.instantiate(parser.parse_args(argv))
    _check(options)
    photo = read_photo(options.image, options.camera, mask=options.mask, box=options.box)
    mesh = load_mesh(options.mesh, unit=options.unit)
    _print_inputs(options, photo, mesh)
    found = _estimated(options, photo, mesh)
    options.out.mkdir(parents=True, exist_ok=True)
    _write_json(options.out / "pose.json", options, found)
    if not isinstance(found, PoseEstimate):
        (options.out / "overlay.png").unlink(missing_ok=True)  # of an earlier pose
        print(f"no pose ({found.reason}): {found.message}")
        return 1
    print(pose_text(found))
    _write_overlay(options.out / "overlay.png", photo, mesh, found)
    print(f"overlay.png and pose.json in {options.out}")
    return 0


def pose_text(found: PoseEstimate) -> str:
    """A pose with its evidence, as text."""
    pose = found.cam_from_obj
    rows = ["  ".join(f"{float(value):9.6f}" for value in row[:3]) for row in pose[:3]]
    spread = found.uncertainty
    return "\n".join(
        [
            "object to camera (x right, y down, z forward):",
            *(f"{'R =' if number == 0 else '   '} {row}" for number, row in enumerate(rows)),
            "t =  " + "  ".join(f"{float(value):.3f}" for value in pose[:3, 3]) + "  mm",
            f"score {found.score:.3f}: {found.num_inliers} of {found.num_matches} matches agree, "
            f"median error {found.median_px:.2f} px of the crop; {found.num_dropped} had no 3D point",
            f"1 sigma: {spread.sigma_deg:.3g} deg, {spread.sigma_mm:.3g} mm (matches taken as independent)",
            f"template {found.template_index}, {found.seconds:.2f} s",
        ]
    )


def pose_record(found: PoseEstimate | EstimateFailure) -> dict[str, Any]:
    """A pose or its failure, ready for JSON; names and units of rotation and translation as in BOP files."""
    from refkp.systems.pose.inference.failure import EstimateFailure

    if isinstance(found, EstimateFailure):
        return {"failure": found.reason, "message": found.message}
    spread = found.uncertainty
    return {
        "cam_R_m2c": found.cam_from_obj[:3, :3].flatten().tolist(),
        "cam_t_m2c": found.cam_from_obj[:3, 3].tolist(),
        "score": found.score,
        "num_inliers": found.num_inliers,
        "num_matches": found.num_matches,
        "num_dropped": found.num_dropped,
        "median_px": found.median_px,
        "sigma_deg": spread.sigma_deg,
        "sigma_mm": spread.sigma_mm,
        "covariance": found.covariance.tolist(),
        "template": found.template_index,
        "seconds": found.seconds,
    }


def _parser() -> ArgumentParser:
    with named_extras():
        from jsonargparse import ArgumentParser

    from refkp.data.meshes import Unit
    from refkp.systems.pose.inference.estimator import EstimatorSpec

    parser = ArgumentParser(prog="refkp pose infer", description=infer.__doc__)
    add = parser.add_argument
    add("image", type=Path, help="the photo, PNG or JPEG")
    add("--mesh", type=Path, required=True, help="OBJ, PLY or GLB, with its texture beside it")
    add("--unit", type=Unit, required=True, help="the length of 1 in the mesh file")
    add(
        "--camera",
        type=Path,
        required=True,
        help='JSON: {"K": 3x3}, {"fx","fy","cx","cy"} or {"cam_K": 9}; pixel centres at +0.5',
    )
    add("--run", type=Path, required=True, help="folder of `refkp train pose`, or a checkpoint in it")
    add("--mask", type=Path | None, default=None, help="picture of the photo's size, not 0 on the object")
    add("--box", type=int, nargs=4, default=None, help="x0 y0 x1 y1 around the object, in pixels")
    add("--templates", type=Path | None, default=None, help="of `refkp pose render-templates`; else rendered")
    add("--obj_id", type=int | None, default=None, help="its number, if --templates has several objects")
    add("--workers", type=int, default=1, help="processes that render templates")
    add("--estimator", type=EstimatorSpec, default=EstimatorSpec(), help="matches, RANSAC, refinement")
    add(
        "--mode",
        type=Literal["cluster", "global"] | None,
        default=None,
        help="cluster: a few templates (default); global: all of them; short for --estimator.modes.mode",
    )
    add("--device", type=Literal["cpu", "cuda"], default="cpu", help="of the model")
    add("--out", type=Path, default=Path("pose"), help="folder for overlay.png and pose.json")
    return parser


def _check(options: Any) -> None:
    if options.obj_id is not None and options.templates is None:
        fail("refkp pose infer", "obj_id", "given with --templates alone", options.obj_id)
    if options.device == "cuda" and not torch.cuda.is_available():
        fail("refkp pose infer", "device", "cpu on a machine without CUDA", "cuda")


def _print_inputs(options: Any, photo: Photo, mesh: Mesh) -> None:
    """What was understood, so that a wrong unit or camera shows before its pose does."""
    width, height, depth = mesh.extent
    print(f"{options.mesh}: {width:.1f} x {height:.1f} x {depth:.1f} mm")
    across, down = photo.field_of_view_deg
    print(f"{options.image}: {across:.1f} x {down:.1f} deg, object in {photo.box}")
    if options.mask is None:
        print("the box counts as the object, with the background in it; a mask gives a better pose")
    if not mesh.has_colour:
        print(
            f"{options.mesh} has no texture and no vertex colours: its templates are grey, so few patches will "
            "match. Add the material file and its picture.",
            file=sys.stderr,
        )


def _estimated(options: Any, photo: Photo, mesh: Mesh) -> PoseEstimate | EstimateFailure:
    from refkp.systems.pose.crops import crop_views
    from refkp.systems.pose.inference.bank import build_bank
    from refkp.systems.pose.inference.estimator import PoseEstimator
    from refkp.systems.pose.training.runs import load_run

    model = load_run(options.run).to(options.device)
    size = model.spec.encoder.image_size
    unknown = torch.eye(4, dtype=torch.float64)
    query = crop_views(photo.rgb, photo.mask, None, photo.K, unknown, photo.box, size)
    bank = build_bank(model, _template_views(options, mesh, size))
    spec = options.estimator
    if options.mode is not None:
        spec = replace(spec, modes=replace(spec.modes, mode=options.mode))
    return PoseEstimator(model, bank, spec).estimate(query)


def _template_views(options: Any, mesh: Mesh, size: int) -> Views:
    """All templates of the object: those that are there, or new ones, which leave nothing behind."""
    from refkp.systems.pose.templates.rendering import render_templates
    from refkp.systems.pose.templates.store import TemplateStore

    if options.templates is not None:
        store = TemplateStore(options.templates)
        obj_id = _object_number(store.obj_ids, options.obj_id)
        _require_same_size(store.diameter(obj_id), mesh.diameter)
        return store.views(obj_id, torch.arange(len(store.poses(obj_id))), size)
    with tempfile.TemporaryDirectory(prefix="refkp_templates_") as folder:
        render_templates(mesh, _OWN_OBJECT, folder, workers=options.workers, progress=True)
        store = TemplateStore(folder)
        return store.views(_OWN_OBJECT, torch.arange(store.num_views), size)


def _object_number(obj_ids: tuple[int, ...], wanted: int | None) -> int:
    if wanted is None and len(obj_ids) == 1:
        return obj_ids[0]
    if wanted not in obj_ids:
        fail("refkp pose infer", "obj_id", f"one of {list(obj_ids)}, as the templates have", wanted)
    return wanted


def _require_same_size(of_templates: float, of_mesh: float) -> None:
    if abs(of_templates - of_mesh) > _DIAMETER_TOLERANCE * of_mesh:
        got = f"{of_templates:.1f} mm, and a mesh of {of_mesh:.1f} mm"
        remedy = "Is it the same object, and the right --unit?"
        fail("refkp pose infer", "templates", "of an object as large as the mesh", got, remedy)


def _write_json(path: Path, options: Any, found: PoseEstimate | EstimateFailure) -> None:
    from refkp._files import write_text

    record = {"image": str(options.image), "mesh": str(options.mesh), "unit": "mm", **pose_record(found)}
    write_text(path, json.dumps(record, indent=2) + "\n")


def _write_overlay(path: Path, photo: Photo, mesh: Mesh, found: PoseEstimate) -> None:
    from refkp.systems.pose.pictures import overlay_picture
    from refkp.viz.figures import write_figure

    write_figure(overlay_picture(photo.rgb, mesh, photo.K, found.cam_from_obj), path)
