"""`refkp panorama caption`: what a trained model says about panoramas."""

from __future__ import annotations

from pathlib import Path

from refkp._extras import named_extras
from refkp.systems.panorama.commands.run_options import add_run_options, loaded_run


def caption(argv: list[str]) -> int:
    """Describe panoramas, or answer an instruction about them, with a trained run."""
    with named_extras():
        from jsonargparse import ArgumentParser

    from refkp.systems.panorama.inference.captioning import Request, answer

    parser = ArgumentParser(prog="refkp panorama caption", description=caption.__doc__)
    parser.add_argument("panoramas", type=str, nargs="+", help="2:1 equirectangular pictures")
    parser.add_argument("--query", type=str, default="the whole scene", help="the subject to describe")
    parser.add_argument(
        "--instruction", type=str | None, default=None, help="asked as it is, instead of a query"
    )
    add_run_options(parser)
    options = parser.instantiate(parser.parse_args(argv))
    run = loaded_run(options)
    question = options.query if options.instruction is None else options.instruction
    requests = [Request(Path(path), question, options.instruction is not None) for path in options.panoramas]
    answers = answer(run, requests, options.generation, batch_size=options.batch_size)
    for request, text in zip(requests, answers, strict=True):
        print(f"{request.panorama}: {text}")
    return 0
