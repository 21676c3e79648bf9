"""`refkp pose infer`: the pose of one's own object in one's own photo."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from refkp._checks import fail
from refkp.commands import (
    add_device,
    add_out,
    add_run,
    add_workers,
    chosen_device,
    output_folder,
    parsed,
    parser,
    require_counts,
)

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from refkp.data.meshes import Mesh
    from refkp.systems.pose.inference.estimator import PoseEstimate
    from refkp.systems.pose.inference.failure import EstimateFailure
    from refkp.systems.pose.inference.photo import Photo
    from refkp.systems.pose.views import Views

_COMMAND = "refkp pose infer"

#: A rendered template stands for the photo.
_EXAMPLE = """\
refkp pose generate --objects 1 --scenes 20 --templates_level 0 --out data
refkp train pose --config tiny --data data --out runs/pose
echo '{"fx": 572.4114, "fy": 573.57043, "cx": 320, "cy": 240}' > camera.json
refkp pose infer data/templates/000001/000000.png --camera camera.json --box 220 140 420 340 \
--mesh data/models/obj_000001.obj --unit mm --templates data/templates --run runs/pose"""

#: By how much the size of the templates' object may differ from that of the mesh.
_DIAMETER_TOLERANCE = 0.02


def infer(argv: list[str]) -> int:
    """Estimate the pose of an object in a photo, from its mesh and a trained run."""
    options = parsed(_parser(), argv)
    require_counts(_COMMAND, options, "workers")
    if options.obj_id is not None and options.templates is None:
        fail(_COMMAND, "obj_id", "given with --templates alone", options.obj_id)

    from refkp.data.meshes import load_mesh
    from refkp.systems.pose.inference.estimator import PoseEstimate
    from refkp.systems.pose.inference.photo import read_photo
    from refkp.systems.pose.inference.record import pose_text

    photo = read_photo(options.image, options.camera, mask=options.mask, box=options.box)
    mesh = load_mesh(options.mesh, unit=options.unit)
    _print_inputs(options, photo, mesh)
    found = _estimated(options, photo, mesh)
    print(pose_text(found))
    _write(options, photo, mesh, found)
    return 0 if isinstance(found, PoseEstimate) else 1


def _parser() -> ArgumentParser:
    from refkp.data.units import Unit
    from refkp.systems.pose.inference.spec import EstimatorSpec

    command = parser(_COMMAND, infer.__doc__, example=_EXAMPLE)
    add = command.add_argument
    add("image", type=Path, help="the photo, PNG or JPEG")
    add("--mesh", type=Path, required=True, help="OBJ, PLY or GLB, with its texture beside it")
    add("--unit", type=Unit, required=True, help="the length of 1 in the mesh file")
    add(
        "--camera",
        type=Path,
        required=True,
        help='JSON: {"K": 3x3}, {"fx","fy","cx","cy"} or {"cam_K": 9}; pixel centres at +0.5',
    )
    add_run(command, "pose")
    add("--mask", type=Path | None, default=None, help="picture of the photo's size, not 0 on the object")
    add("--box", type=int, nargs=4, default=None, help="x0 y0 x1 y1 around the object, in pixels")
    add(
        "--templates",
        type=Path | None,
        default=None,
        help="of `refkp pose render-templates`; else rendered, and kept beside the mesh",
    )
    add("--obj_id", type=int | None, default=None, help="its number, if --templates has several objects")
    add_workers(command, "threads that render templates")
    add("--estimator", type=EstimatorSpec, default=EstimatorSpec(), help="matches, RANSAC, refinement")
    add(
        "--mode",
        type=Literal["cluster", "global"] | None,
        default=None,
        help="cluster: a few templates (default); global: all of them; short for --estimator.modes.mode",
    )
    add_device(command)
    add_out(command, "pose.json and overlay.png", default="pose")
    return command


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
    import torch

    from refkp.systems.pose.crops import crop_views
    from refkp.systems.pose.inference.bank import build_bank
    from refkp.systems.pose.inference.estimator import PoseEstimator
    from refkp.systems.pose.training.runs import load_run

    model = load_run(options.run).to(chosen_device(options.device))
    size = model.spec.encoder.image_size
    unknown = torch.eye(4, dtype=torch.float64)
    query = crop_views(photo.rgb, photo.mask, None, photo.K, unknown, photo.box, size)
    bank = build_bank(model, _template_views(options, mesh, size))
    spec = options.estimator
    if options.mode is not None:
        spec = replace(spec, modes=replace(spec.modes, mode=options.mode))
    return PoseEstimator(model, bank, spec).estimate(query)


def _template_views(options: Any, mesh: Mesh, size: int) -> Views:
    """All templates of the object: those of a store, or those of its mesh."""
    from refkp.systems.pose.templates.cached import cached_views
    from refkp.systems.pose.templates.store import TemplateStore

    if options.templates is None:
        return cached_views(mesh, size, options.mesh.parent, workers=options.workers, progress=True)
    store = TemplateStore(options.templates)
    obj_id = _object_number(store.obj_ids, options.obj_id)
    _require_same_size(store.diameter(obj_id), mesh.diameter)
    return store.views(obj_id, range(len(store.poses(obj_id))), size)


def _object_number(obj_ids: tuple[int, ...], wanted: int | None) -> int:
    if wanted is None and len(obj_ids) == 1:
        return obj_ids[0]
    if wanted not in obj_ids:
        fail(_COMMAND, "obj_id", f"one of {list(obj_ids)}, as the templates have", wanted)
    return wanted


def _require_same_size(of_templates: float, of_mesh: float) -> None:
    if abs(of_templates - of_mesh) > _DIAMETER_TOLERANCE * of_mesh:
        got = f"{of_templates:.1f} mm, and a mesh of {of_mesh:.1f} mm"
        remedy = "Is it the same object, and the right --unit?"
        fail(_COMMAND, "templates", "of an object as large as the mesh", got, remedy)


def _write(options: Any, photo: Photo, mesh: Mesh, found: PoseEstimate | EstimateFailure) -> None:
    """pose.json, and the picture where there is a pose."""
    from refkp._files import write_json
    from refkp.systems.pose.inference.failure import EstimateFailure
    from refkp.systems.pose.inference.record import pose_record
    from refkp.systems.pose.pictures import overlay_picture
    from refkp.viz.figures import write_figure

    with output_folder(options.out) as folder:
        record = {"image": str(options.image), "mesh": str(options.mesh), "unit": "mm", **pose_record(found)}
        write_json(folder / "pose.json", record)
        if not isinstance(found, EstimateFailure):
            picture = overlay_picture(photo.rgb, mesh, photo.K, found.cam_from_obj)
            write_figure(picture, folder / "overlay.png")
    if isinstance(found, EstimateFailure):
        (options.out / "overlay.png").unlink(missing_ok=True)  # of an earlier pose
        print(f"pose.json in {options.out}")
    else:
        print(f"overlay.png and pose.json in {options.out}")
