"""`refkp pose render-templates`: the views of a mesh that its pose is estimated from."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from refkp._extras import named_extras


def render_templates(argv: list[str]) -> int:
    """Render a mesh from all sides into a template store."""
    with named_extras():
        from jsonargparse import ArgumentParser

    from refkp.data.meshes import Unit

    parser = ArgumentParser(prog="refkp pose render-templates", description=render_templates.__doc__)
    parser.add_argument("mesh", type=str, help="OBJ, PLY, GLB, ...")
    parser.add_argument("--unit", type=Unit, required=True, help="the length of 1 in the mesh file")
    parser.add_argument("--out", type=Path, required=True, help="folder of the template store")
    parser.add_argument("--obj_id", type=int, default=1, help="number of the object in the store")
    parser.add_argument("--level", type=int, default=1, help="0, 1 or 2: 42, 162 or 642 views")
    parser.add_argument("--depth_steps_per_mm", type=float, default=10.0, help="resolution of the depth")
    parser.add_argument("--workers", type=int, default=1, help="processes that render")
    options = parser.parse_args(argv)

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
        depth_steps_per_mm=options.depth_steps_per_mm,
        workers=options.workers,
        progress=True,
    )
    sides = " x ".join(f"{side:.1f}" for side in mesh.extent)
    print(f"object {options.obj_id}: box {sides} mm, diameter {mesh.diameter:.1f} mm")
    print(f"{num_icosphere_views(options.level)} views in {time.perf_counter() - start:.1f} s in {folder}")
    return 0
