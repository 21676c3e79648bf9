"""`refkp panorama caption`: what a trained model says about panoramas."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from refkp.commands import parsed, parser
from refkp.systems.panorama.commands.run_options import add_run_options, loaded_run

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

_COMMAND = "refkp panorama caption"


def caption(argv: list[str]) -> int:
    """Describe panoramas, or answer an instruction about them, with a trained run."""
    options = parsed(_parser(), argv)
    run = loaded_run(_COMMAND, options)

    from refkp.systems.panorama.inference.captioning import Request, answer

    question = options.query if options.instruction is None else options.instruction
    requests = [Request(path, question, options.instruction is not None) for path in options.panoramas]
    answers = answer(run, requests, options.generation, batch_size=options.batch_size)
    for request, text in zip(requests, answers, strict=True):
        print(f"{request.panorama}: {text}", flush=True)
    return 0


def _parser() -> ArgumentParser:
    example = f'{_COMMAND} PANO.jpg --run RUN --query "the scene"'
    command = parser(_COMMAND, caption.__doc__, example=example)
    command.add_argument("panoramas", type=Path, nargs="+", help="2:1 equirectangular pictures")
    command.add_argument("--query", type=str, default="the whole scene", help="the subject to describe")
    command.add_argument(
        "--instruction", type=str | None, default=None, help="asked as it is, instead of a query"
    )
    add_run_options(command)
    return command
