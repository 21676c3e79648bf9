"""`refkp pose render-templates`: the views of a mesh that its pose is estimated from."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from refkp.commands import add_out, add_workers, parsed, parser, require_counts

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

_COMMAND = "refkp pose render-templates"
_EXAMPLE = f"""\
refkp pose generate --objects 1 --scenes 1 --out data
{_COMMAND} data/models/obj_000001.obj --unit mm --level 0 --out templates"""


def render_templates(argv: list[str]) -> int:
    """Render a mesh from all sides into a template store."""
    options = parsed(_parser(), argv)
    require_counts(_COMMAND, options, "workers")

    from refkp.data.meshes import load_mesh
    from refkp.geometry.icosphere import num_icosphere_views
    from refkp.systems.pose.templates import rendering

    mesh = load_mesh(options.mesh, unit=options.unit)
    if not mesh.has_colour:
        print(
            f"warning: {options.mesh} has no texture and no colours; its templates are grey, "
            "and only its shape can be matched",
            file=sys.stderr,
        )
    start = time.perf_counter()
    folder = rendering.render_templates(
        mesh,
        options.obj_id,
        options.out,
        level=options.level,
        size=options.size,
        depth_steps_per_mm=options.depth_steps_per_mm,
        workers=options.workers,
        progress=True,
    )
    sides = " x ".join(f"{side:.1f}" for side in mesh.extent)
    print(f"object {options.obj_id}: box {sides} mm, diameter {mesh.diameter:.1f} mm")
    print(f"{num_icosphere_views(options.level)} views in {time.perf_counter() - start:.1f} s in {folder}")
    return 0


def _parser() -> ArgumentParser:
    from refkp.data.units import Unit

    command = parser(_COMMAND, render_templates.__doc__, example=_EXAMPLE)
    add = command.add_argument
    add("mesh", type=Path, help="OBJ, PLY, GLB, ...")
    add("--unit", type=Unit, required=True, help="the length of 1 in the mesh file")
    add_out(command, "the template store")
    add(
        "--obj_id",
        type=int,
        default=1,
        help="number of the object in the store; of a mesh alone: another one under it is refused",
    )
    add("--level", type=int, default=1, help="0, 1 or 2: 42, 162 or 642 views")
    add("--size", type=tuple[int, int], default=(480, 640), help="height and width of the pictures")
    add("--depth_steps_per_mm", type=float, default=10.0, help="resolution of the depth")
    add_workers(command, "threads that render")
    return command
