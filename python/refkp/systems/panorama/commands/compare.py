"""`refkp panorama compare`: the overlap loss by true correspondence against the strip form, all else equal.

Source: spec panorama 3.4 (why strips are not the overlap) and 5 (overlap retrieval accuracy).
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from refkp._files import write_json
from refkp.commands import add_out, parsed, parser, require_counts, table

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from refkp.training.run import TrainingRun

_COMMAND = "refkp panorama compare"

#: What is compared: the loss on a layout that is the same in every step, and on tiles that are turned at random.
CONDITIONS = {
    "true correspondences, turned tiles": ("--model.loss.kind=overlap", "--data.jitter_deg=10"),
    "strips, turned tiles": ("--model.loss.kind=sequential", "--data.jitter_deg=10"),
    "true correspondences, fixed tiles": ("--model.loss.kind=overlap", "--data.jitter_deg=0"),
    "strips, fixed tiles": ("--model.loss.kind=sequential", "--data.jitter_deg=0"),
}

_RETRIEVAL = "val/tokens/retrieval"
_ELSEWHERE = "val/tokens/retrieval_elsewhere"
_RANK = "val/tokens/effective_rank"


def compare(argv: list[str]) -> int:
    """Train with the true overlap loss and with strips, equally, for several seeds; report held-out retrieval."""
    options = parsed(_parser(), argv)
    require_counts(_COMMAND, options, "seeds", "epochs")

    results = _trained(options)
    write_json(options.out / "compare.json", _document(results))
    head, *rows = _rows(results)
    print(table(head, rows))
    print(
        f"compare.json and runs in {options.out}, report in {_report(results, options.out / 'report.html')}"
    )
    return 0


def _parser() -> ArgumentParser:
    command = parser(_COMMAND, compare.__doc__, example=f"{_COMMAND} --data FOLDER --out comparison")
    command.add_argument("--data", type=Path, required=True, help="a folder or CSV file of panoramas")
    add_out(command, "runs, report.html and compare.json")
    command.add_argument("--config", type=str, default="tiny", help="preset or YAML file of the vision stage")
    command.add_argument("--seeds", type=int, default=3, help="training runs of each condition")
    command.add_argument("--epochs", type=int | None, default=None, help="instead of those of the preset")
    command.add_argument("--fresh", action="store_true", help="put earlier runs aside and train again")
    return command


def _trained(options: Any) -> dict[str, list[TrainingRun]]:
    """The runs of every condition, one for each seed; those that are complete are not trained again."""
    from refkp.systems.panorama.training.system import run_training

    common = ["--config", options.config, "--data", str(options.data)]
    common += [] if options.epochs is None else [f"--trainer.max_epochs={options.epochs}"]
    common += ["--fresh"] if options.fresh else []
    results: dict[str, list[TrainingRun]] = {}
    for name, arguments in CONDITIONS.items():
        folder = options.out / "runs" / name.replace(", ", "_").replace(" ", "_")
        for seed in range(options.seeds):
            own = [f"--seed={seed}", "--out", str(folder / f"seed_{seed}")]
            results.setdefault(name, []).append(run_training([*common, *arguments, *own]))
    return results


class Spread(NamedTuple):
    """Mean and sample standard deviation of repeated measurements."""

    mean: float
    std: float  # 0 for a single one

    def __str__(self) -> str:
        return f"{self.mean:.4f} ± {self.std:.4f}"


def spread(values: Sequence[float]) -> Spread:
    """The spread of at least one value.

    >>> print(spread([1.0, 2.0, 3.0]))
    2.0000 ± 1.0000
    """
    return Spread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0)


def _document(results: dict[str, list[TrainingRun]]) -> dict[str, object]:
    return {
        name: {
            "arguments": CONDITIONS[name],
            "held_out": runs[0].held_out,
            "seconds": [run.seconds for run in runs],
            "before": [run.before for run in runs],
            "after": [run.after for run in runs],
        }
        for name, runs in results.items()
    }


def _rows(results: dict[str, list[TrainingRun]]) -> list[tuple[str, ...]]:
    """A line per condition, the heading first."""
    keys = {"retrieval": _RETRIEVAL, "in another panorama": _ELSEWHERE, "effective rank": _RANK}
    rows = [("loss", *keys)]
    before = [run.before for run in next(iter(results.values()))]  # equal in every condition
    trained = {name: [run.after for run in runs] for name, runs in results.items()}
    for name, values in {"before training": before, **trained}.items():
        known = ([value[key] for value in values if key in value] for key in keys.values())
        rows.append((name, *(str(spread(column)) if column else "-" for column in known)))
    return rows


def _report(results: dict[str, list[TrainingRun]], path: Path) -> Path:
    from refkp.systems.panorama.metrics.strips import strip_hit_rate
    from refkp.systems.panorama.views.layout import ErpLayout
    from refkp.viz.report import Report
    from refkp.viz.spread import spread_plot

    runs = [run for group in results.values() for run in group]
    head, *rows = _rows(results)
    report = Report("Overlap loss: true correspondences against strips", "refkp panorama compare")
    report.section("Held-out overlap retrieval accuracy")
    report.text(
        f"The same network, data, order, steps and VICReg constants, {len(runs) // len(results)} seeds each. Trained "
        f"on {runs[0].num_training} panoramas, judged on {' and '.join(runs[0].held_out)}, never seen in training. "
        "Retrieval: how often the nearest token of the neighbouring tile, by cosine, is the one that sees the same "
        "direction. Mean and sample standard deviation over the seeds."
    )
    report.table(head, rows)
    untrained = [run.before[_RETRIEVAL] for run in next(iter(results.values()))]
    lines = {"before training": spread(untrained).mean}
    lines["chance"] = runs[0].after["val/chance"]
    values = {name: [run.after[_RETRIEVAL] for run in group] for name, group in results.items()}
    report.figure(
        spread_plot(values, "overlap retrieval accuracy", lines), "A dot per seed, the bar is their mean."
    )
    report.section("Why")
    hit_rate = strip_hit_rate(ErpLayout.build(), (14, 14), 0.5)
    report.text(
        "The strip form pairs the right columns of a tile with the left columns of the next, index by index. Under "
        f"the perspective of the default layout only {100 * hit_rate:.1f} % of these pairs lie within half a token "
        "of each other, so it asks most tokens to equal a token that sees something else. The column 'in another "
        "panorama' is the control: it asks a tile of a different panorama, where only a code of the position in the "
        "tile can answer. On fixed tiles part of the accuracy is such a code; turning every tile at random in each "
        "step takes it away and leaves what the content earns."
    )
    return report.write(path)
