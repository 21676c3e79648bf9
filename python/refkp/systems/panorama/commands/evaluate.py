"""`refkp panorama eval`: the scores of a trained run on caption files."""

from __future__ import annotations

from pathlib import Path

from refkp._extras import named_extras
from refkp.systems.panorama.commands.run_options import add_run_options, loaded_run


def evaluate(argv: list[str]) -> int:
    """Score a trained run on caption files: BLEU, ROUGE-L, CIDEr, and what its tokens know of overlaps."""
    with named_extras():
        from jsonargparse import ArgumentParser

    from refkp.systems.panorama.data.captions import read_captions
    from refkp.systems.panorama.inference import evaluation

    parser = ArgumentParser(prog="refkp panorama eval", description=evaluate.__doc__)
    parser.add_argument("--data", type=str, nargs="+", required=True, help="caption files")
    parser.add_argument("--out", type=str | None, default=None, help="default: the folder eval of the run")
    add_run_options(parser)
    options = parser.instantiate(parser.parse_args(argv))
    captions, run = read_captions(options.data), loaded_run(options)
    result = evaluation.evaluate(run, captions, options.generation, batch_size=options.batch_size)
    folder = Path(options.run) if Path(options.run).is_dir() else Path(options.run).parent
    out = Path(options.out) if options.out else folder / "eval"
    evaluation.write_evaluation(result, out, run)
    print(f"{run.stage} stage, {len(result.requests)} samples of {len(captions)} rows")
    for name, value in result.values().items():
        print(f"{name:30} {value:10.4f}")
    for name, reason in evaluation.UNAVAILABLE.items():
        print(f"{name:30} {'-':>10} {reason}")
    print(f"scores.json and predictions.csv in {out}")
    return 0
