"""`refkp panorama eval`: the scores of a trained run on caption files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from refkp.commands import parsed, parser, require_output, table
from refkp.systems.panorama.commands.run_options import add_run_options, loaded_run

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

_COMMAND = "refkp panorama eval"


def evaluate(argv: list[str]) -> int:
    """Score a trained run on caption files: BLEU, ROUGE-L, CIDEr, and what its tokens know of overlaps."""
    options = parsed(_parser(), argv)
    folder = options.run if options.run.is_dir() else options.run.parent
    options.out = options.out or folder / "eval"
    require_output(_COMMAND, options)

    from refkp.systems.panorama.data.captions import read_captions

    captions = read_captions(options.data)
    run = loaded_run(_COMMAND, options)

    from refkp.systems.panorama.inference import evaluation

    result = evaluation.evaluate(run, captions, options.generation, batch_size=options.batch_size)
    evaluation.write_evaluation(result, options.out, run)
    print(f"{run.stage} stage, {len(result.requests)} samples of {len(captions)} rows")
    scores = [(name, f"{value:.4f}", "") for name, value in result.values().items()]
    missing = [(name, None, reason) for name, reason in evaluation.UNAVAILABLE.items()]
    print(table(("score", "value", ""), [*scores, *missing]))
    print(f"summary.json and predictions.csv in {options.out}")
    return 0


def _parser() -> ArgumentParser:
    command = parser(_COMMAND, evaluate.__doc__, example=f"{_COMMAND} --run RUN --data captions.csv")
    command.add_argument("--data", type=Path, nargs="+", required=True, help="caption files")
    command.add_argument(
        "--out", type=Path | None, default=None, metavar="DIR", help="default: the folder eval of the run"
    )
    add_run_options(command)
    return command
