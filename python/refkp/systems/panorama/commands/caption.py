"""`refkp panorama caption`: what a trained model says about panoramas."""

from __future__ import annotations

from pathlib import Path

from refkp._extras import named_extras


def caption(argv: list[str]) -> int:
    """Describe panoramas, or answer an instruction about them, with a trained run."""
    with named_extras():
        from jsonargparse import ArgumentParser

    from refkp.systems.panorama.captioning import Request, answer
    from refkp.systems.panorama.runs import load_run
    from refkp.systems.panorama.stages import Stage
    from refkp.systems.panorama.vlm import GenerationSpec

    parser = ArgumentParser(prog="refkp panorama caption", description=caption.__doc__)
    parser.add_argument("panoramas", type=str, nargs="+", help="2:1 equirectangular pictures")
    parser.add_argument(
        "--run", type=str, required=True, help="folder of `refkp train panorama`, or a checkpoint"
    )
    parser.add_argument("--stage", type=Stage | None, default=None, help="default: the last complete one")
    parser.add_argument("--query", type=str, default="the whole scene", help="the subject to describe")
    parser.add_argument(
        "--instruction", type=str | None, default=None, help="asked as it is, instead of a query"
    )
    parser.add_argument("--batch_size", type=int, default=4, help="panoramas at once")
    parser.add_argument("--device", type=str, default="cpu", help="where the model runs")
    parser.add_argument(
        "--generation", type=GenerationSpec, default=GenerationSpec(), help="choice of tokens"
    )
    options = parser.instantiate(parser.parse_args(argv))
    run = load_run(options.run, options.stage)
    run.model.to(options.device)
    question = options.query if options.instruction is None else options.instruction
    requests = [Request(Path(path), question, options.instruction is not None) for path in options.panoramas]
    for request, text in zip(
        requests, answer(run, requests, options.generation, batch_size=options.batch_size), strict=True
    ):
        print(f"{request.panorama}: {text}")
    return 0
