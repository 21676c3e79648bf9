"""`refkp pose generate`: training pictures, models and templates from meshes."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refkp._checks import fail
from refkp.commands import add_out, add_workers, parsed, parser, require_counts

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from refkp.data.meshes import Mesh
    from refkp.systems.pose.data.spec import GeneratorSpec

#: How many seeds there are, and made-up objects of each.
_SEEDS = 2**32

_COMMAND = "refkp pose generate"
_EXAMPLE = f"{_COMMAND} --objects 3 --scenes 20 --size '[120, 160]' --templates_level 0 --out data"


def generate(argv: list[str]) -> int:
    """Render pictures of meshes, with their poses, masks and depth, in the format of the published sets."""
    options = parsed(_parser(), argv)
    require_counts(_COMMAND, options, "scenes", "workers")
    spec = _spec(options)
    meshes = _meshes(options)

    from refkp.systems.pose.data.generator import generate_scenes, object_digests
    from refkp.systems.pose.data.shards import ShardReader

    shards = generate_scenes(meshes, options.out, spec, seed=options.seed, workers=options.workers)
    reader = ShardReader(shards)
    visible = [item.visible_fraction for index in range(len(reader)) for item in reader.annotations(index)]
    print(
        f"{len(reader)} pictures of {len(meshes)} objects in {shards}: {len(visible)} instances, "
        f"{sum(part < 0.9 for part in visible)} of them partly hidden"
    )
    for obj_id, digest in object_digests(options.out).items():
        print(f"object {obj_id}: {digest[:12]}")
    if options.templates_level is not None:
        _render_templates(options)
    return 0


def _parser() -> ArgumentParser:
    from refkp.data.units import Unit
    from refkp.systems.pose.data.spec import GeneratorSpec

    command = parser(_COMMAND, generate.__doc__, example=_EXAMPLE)
    add = command.add_argument
    add_out(command, "shards, models and templates")
    add("--scenes", type=int, required=True, help="how many pictures")
    add("--meshes", type=Path, nargs="+", default=[], help="OBJ, PLY or GLB files, ids 1, 2 ...")
    add("--unit", type=Unit | None, default=None, help="of the meshes")
    add(
        "--objects",
        type=int,
        default=0,
        help="made-up ones, other ones for each seed, numbered after the meshes",
    )
    add("--seed", type=int, default=0, help="of everything random, the made-up objects too")
    add_workers(command, "processes that render pictures, threads that render templates")
    add(
        "--templates_level",
        type=int | None,
        default=None,
        help="also render templates: 0, 1 or 2 for 42, 162 or 642 views; default: none",
    )
    add("--templates_size", type=tuple[int, int], default=(480, 640), help="height and width of templates")
    command.add_class_arguments(GeneratorSpec, nested_key=None, skip={"num_scenes"}, instantiate=False)
    return command


def _spec(options: Any) -> GeneratorSpec:
    from refkp.systems.pose.data.spec import GeneratorSpec

    names = (field.name for field in fields(GeneratorSpec) if field.name != "num_scenes")
    return GeneratorSpec(options.scenes, **{name: options[name] for name in names})


def _meshes(options: Any) -> dict[int, Mesh]:
    """The meshes named, then the generated objects."""
    if options.meshes and options.unit is None:
        fail(_COMMAND, "unit", "given with meshes: m, cm or mm", "none", "Files do not tell their unit.")
    if options.objects < 0 or not (options.meshes or options.objects):
        fail(_COMMAND, "meshes, objects", "at least one object", (options.meshes, options.objects))
    if not 0 <= options.seed < _SEEDS or options.objects > _SEEDS:
        fail(_COMMAND, "seed", f"in [0,{_SEEDS})", options.seed)

    from refkp.data.meshes import load_mesh
    from refkp.data.shapes import KINDS, make_object

    meshes = [load_mesh(path, unit=options.unit) for path in options.meshes]
    for path, mesh in zip(options.meshes, meshes, strict=True):
        if not mesh.has_colour:
            print(f"{path} has neither texture nor colours: it is rendered in one grey")
    kinds = tuple(KINDS)
    meshes += [
        make_object(kinds[number % len(kinds)], seed=options.seed * _SEEDS + number)  # none is of two seeds
        for number in range(options.objects)
    ]
    return dict(enumerate(meshes, start=1))


def _render_templates(options: Any) -> None:
    from refkp.systems.pose.data.models import ModelSet
    from refkp.systems.pose.templates.rendering import render_templates

    models, out = ModelSet(options.out), options.out / "templates"
    level, size, workers = options.templates_level, options.templates_size, options.workers
    for obj_id in models.obj_ids:
        mesh = models.mesh(obj_id)
        render_templates(mesh, obj_id, out, level=level, size=size, workers=workers, progress=True)
    print(f"templates in {out}")
