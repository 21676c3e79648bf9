"""`refkp pose generate`: training pictures, models and templates from meshes."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from refkp._checks import fail
from refkp._extras import named_extras

if TYPE_CHECKING:
    from refkp.data.meshes import Mesh


def generate(argv: list[str]) -> int:
    """Render pictures of meshes, with their poses, masks and depth, in the format of the published sets."""
    with named_extras():
        from jsonargparse import ArgumentParser

    from refkp.systems.pose.data.composition import GeneratorSpec

    parser = ArgumentParser(prog="refkp pose generate", description=generate.__doc__)
    parser.add_argument("--out", type=str, required=True, help="folder for shards, models and templates")
    parser.add_argument("--scenes", type=int, required=True, help="how many pictures")
    parser.add_argument(
        "--meshes", type=str, nargs="+", default=[], help="OBJ, PLY or GLB files, ids 1, 2 ..."
    )
    parser.add_argument("--unit", type=Literal["m", "cm", "mm"] | None, default=None, help="of the meshes")
    parser.add_argument("--shapes", type=int, default=0, help="generated objects, numbered after the meshes")
    parser.add_argument("--seed", type=int, default=0, help="of everything random")
    parser.add_argument("--workers", type=int, default=1, help="processes; 1 renders in this one")
    parser.add_argument(
        "--templates_level", type=int | None, default=None,
        help="also render templates: 0, 1 or 2 for 42, 162 or 642 views; default: none",
    )  # fmt: skip
    parser.add_class_arguments(GeneratorSpec, nested_key=None, skip={"num_scenes"})
    options = parser.parse_args(argv)

    choices = {
        field.name: options[field.name] for field in fields(GeneratorSpec) if field.name != "num_scenes"
    }
    spec = GeneratorSpec(options.scenes, **choices)
    meshes = _meshes(options)

    from refkp.systems.pose.data.generator import generate_scenes
    from refkp.systems.pose.data.shards import ShardReader

    out = Path(options.out)
    shards = generate_scenes(meshes, out, spec, seed=options.seed, workers=options.workers)
    reader = ShardReader(shards)
    visible = [item.visible_fraction for index in range(len(reader)) for item in reader.annotations(index)]
    print(
        f"{len(reader)} pictures of {len(meshes)} objects in {shards}: {len(visible)} instances, "
        f"{sum(part < 0.9 for part in visible)} of them partly hidden"
    )
    if options.templates_level is not None:
        _render_templates(out, options.templates_level, options.workers)
    return 0


def _meshes(options: Any) -> dict[int, Mesh]:
    """The meshes named, then the generated objects."""
    from refkp.data.meshes import load_mesh
    from refkp.data.shapes import KINDS, make_object

    if options.meshes and options.unit is None:
        fail("generate", "unit", "given with meshes: m, cm or mm", "none", "Files do not tell their unit.")
    if options.shapes < 0 or not (options.meshes or options.shapes):
        fail("generate", "meshes, shapes", "at least one object", (options.meshes, options.shapes))
    meshes = [load_mesh(path, unit=options.unit) for path in options.meshes]
    for path, mesh in zip(options.meshes, meshes, strict=True):
        if not mesh.has_colour:
            print(f"{path} has neither texture nor colours: it is rendered in one grey")
    kinds = tuple(KINDS)
    meshes += [make_object(kinds[number % len(kinds)], seed=number) for number in range(options.shapes)]
    return dict(enumerate(meshes, start=1))


def _render_templates(out: Path, level: int, workers: int) -> None:
    from refkp.systems.pose.data.models import ModelSet
    from refkp.systems.pose.templates.rendering import render_templates

    models = ModelSet(out)
    for obj_id in models.obj_ids:
        mesh = models.mesh(obj_id)
        render_templates(mesh, obj_id, out / "templates", level=level, workers=workers, progress=True)
    print(f"templates in {out / 'templates'}")
