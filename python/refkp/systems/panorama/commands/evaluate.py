"""`refkp panorama eval`: the scores of a trained run on caption files."""

from __future__ import annotations

from pathlib import Path

from refkp._extras import named_extras


def evaluate(argv: list[str]) -> int:
    """Score a trained run on caption files: BLEU, ROUGE-L, CIDEr, and what its tokens know of overlaps."""
    with named_extras():
        from jsonargparse import ArgumentParser

    from refkp.systems.panorama import evaluation
    from refkp.systems.panorama.captions import read_captions
    from refkp.systems.panorama.runs import load_run
    from refkp.systems.panorama.stages import Stage
    from refkp.systems.panorama.vlm import GenerationSpec

    parser = ArgumentParser(prog="refkp panorama eval", description=evaluate.__doc__)
    parser.add_argument(
        "--run", type=str, required=True, help="folder of `refkp train panorama`, or a checkpoint"
    )
    parser.add_argument("--data", type=str, nargs="+", required=True, help="caption files")
    parser.add_argument("--out", type=str | None, default=None, help="default: the folder eval of the run")
    parser.add_argument("--stage", type=Stage | None, default=None, help="default: the last complete one")
    parser.add_argument("--batch_size", type=int, default=4, help="panoramas at once")
    parser.add_argument("--device", type=str, default="cpu", help="where the model runs")
    parser.add_argument(
        "--generation", type=GenerationSpec, default=GenerationSpec(), help="choice of tokens"
    )
    options = parser.instantiate(parser.parse_args(argv))
    captions, run = read_captions(options.data), load_run(options.run, options.stage)
    run.model.to(options.device)
    result = evaluation.evaluate(run, captions, options.generation, batch_size=options.batch_size)
    base = Path(options.run)
    out = Path(options.out) if options.out else (base if base.is_dir() else base.parent) / "eval"
    evaluation.write_evaluation(result, out, run)
    print(f"{run.stage} stage, {len(result.requests)} samples of {len(captions)} rows")
    for name, value in result.values().items():
        print(f"{name:30} {value:10.4f}")
    for name, reason in evaluation.UNAVAILABLE.items():
        print(f"{name:30} {'-':>10} {reason}")
    print(f"scores.json and predictions.csv in {out}")
    return 0
