"""`refkp multiview render`: samples of a body in random poses, to train on."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from refkp.commands import add_workers, parsed, parser, require_counts, require_file

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

_COMMAND = "refkp multiview render"
_EXAMPLE = f"{_COMMAND} samples.h5 --body insect --num_animals 20 --num_poses 10"


def render(argv: list[str]) -> int:
    """Render a body in random poses before cameras, into a file of samples with pose, shape, points and cameras."""
    options = parsed(_parser(), argv)
    require_counts(_COMMAND, options, "workers")
    require_file(_COMMAND, "samples", options.samples)

    from refkp.systems.multiview.body.species import load_body
    from refkp.systems.multiview.data.rendered import render_samples
    from refkp.systems.multiview.data.sample_spec import SampleSpec

    spec = SampleSpec(**{field.name: options[field.name] for field in fields(SampleSpec)})
    body = load_body(options.body)
    count = render_samples(options.samples, body, spec, options.seed, options.workers)
    print(f"{options.samples}: {count} samples of {spec.num_animals} animals in {spec.num_views} views")
    return 0


def _parser() -> ArgumentParser:
    from refkp.systems.multiview.data.sample_spec import SampleSpec

    command = parser(_COMMAND, render.__doc__, example=_EXAMPLE)
    add = command.add_argument
    add("samples", type=Path, metavar="OUT.h5", help="file to write")
    add("--body", required=True, help='"insect", "mouse", "quadruped", or a body file (see make-body)')
    add("--seed", type=int, default=0, help="of everything random; other seeds are other animals")
    command.add_class_arguments(SampleSpec, nested_key=None, instantiate=False)
    add_workers(command, "processes that render")
    return command
