"""A training from its command line to its report.

    RUN/run.json                      which stages are begun and complete
    RUN/STAGE/config.yaml             the resolved configuration
    RUN/STAGE/checkpoints/            the best by the monitored value, and last.ckpt to go on from
    RUN/STAGE/summary.json            held-out values before and after
    RUN/STAGE/log.txt, events.*       messages, and curves for TensorBoard

The same command on an interrupted run goes on where it stopped, and on a complete one reports.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from refkp._checks import fail
from refkp._extras import named_extras
from refkp._files import write_json, write_text
from refkp.commands import device_line, table
from refkp.training.checkpoint import read_checkpoint
from refkp.training.cli import Request, SystemTraining, TrainingCLI, largest_batch, read_request
from refkp.training.console import LogFile, quiet_console
from refkp.training.safeguard import Stopped

with named_extras():
    from lightning.pytorch.callbacks import ModelCheckpoint
    from lightning.pytorch.utilities.exceptions import MisconfigurationException


@dataclass(frozen=True)
class TrainingRun:
    """A finished stage: held-out values before its first step and of its best checkpoint, and where it all lies."""

    system: str
    stage: str
    before: dict[str, float]
    after: dict[str, float]
    num_training: int  # samples of an epoch
    held_out: list[str]  # as a person would name them
    steps: int  # of the whole training
    seconds: float  # of training, since it was begun or last went on
    checkpoint: str  # the best, from the folder of the run
    folder: Path  # of the stage
    reported: bool = False  # it was complete already


def train(system: SystemTraining, argv: Sequence[str], *, reports: bool = True) -> list[TrainingRun]:
    """Train as `refkp train SYSTEM ARGUMENTS` does; the stages that it asked for.

    Args:
        system: what is trained.
        argv: its command line.
        reports: print one after each stage; else who calls tells what came out.

    Raises:
        KeyboardInterrupt: a signal ended it, after its checkpoint was written.
        ValueError: what is wrong with the options, the data or the run that is there.
    """
    request = read_request(system, argv)
    try:
        return _stages(system, request, reports)
    except MisconfigurationException as error:  # options that contradict each other, in Lightning's words
        raise ValueError(f"train: {error}") from error


def _stages(system: SystemTraining, request: Request, reports: bool) -> list[TrainingRun]:
    runs = []
    for number, stage in enumerate(request.stages):
        # Training a stage afresh puts the later ones aside, so only the first needs to be told.
        fresh = request.fresh and number == 0
        with quiet_console() as log:
            cli = TrainingCLI(system, stage, request._replace(fresh=fresh))
            runs.append(_reported(cli) if cli.plan.action == "report" else _trained(cli, log))
            if cli.speaks and reports:
                print(report(runs[-1], system), flush=True)
    return runs


def report(run: TrainingRun, system: SystemTraining) -> str:
    """The held-out values of a stage, and the path of everything it wrote."""
    best = run.folder.parent / run.checkpoint
    lines = [
        table((f"{run.stage}: held out", "before", "best checkpoint"), reported_values(run, system)),
        f"{run.stage} was complete and is left as it is; --fresh trains it again"
        if run.reported
        else f"{run.steps} steps on {run.num_training} samples, {run.seconds:.0f} s",
        f"best checkpoint  {best}",
        f"to look at       {run.folder}: summary.json, config.yaml, log.txt; tensorboard --logdir {run.folder}",
    ]
    return "\n".join(lines)


def reported_values(run: TrainingRun, system: SystemTraining) -> list[tuple[str, float, float]]:
    """(what, before, after) of the held-out values that a report shows."""
    return [
        (title, run.before[name], run.after[name])
        for name, title in system.reported.items()
        if name in run.before
    ]


def _reported(cli: TrainingCLI) -> TrainingRun:
    file = cli.folder / "summary.json"
    try:
        return TrainingRun(**json.loads(file.read_text()), folder=cli.folder, reported=True)
    except (OSError, ValueError, TypeError):  # gone, or of another content
        remedy = "`--fresh` trains the stage again; its checkpoints can still be used."
        fail(
            "train",
            "out",
            f"a complete stage with its {file.name}",
            f"none that can be read in {cli.folder}",
            remedy,
        )


def _trained(cli: TrainingCLI, log: LogFile) -> TrainingRun:
    """Train the stage to its end."""
    cli.datamodule.setup("fit")  # an error in the data leaves no files behind
    is_first = cli.speaks
    name, going_on = cli.stage.name, cli.plan.action == "resume"
    if is_first:
        _prepare_folder(cli, going_on)
        log.open(cli.folder / "log.txt")
    if cli.plan.start_from is not None and not going_on:
        cli.model.start_from(read_checkpoint(cli.plan.start_from, cli.system.name))
    _batch_size(cli, going_on)
    if is_first:
        print(_first_line(cli), flush=True)
    before = cli.run.state.begun[name].before if going_on else _validated(cli)
    if is_first and not going_on:
        cli.run.note_before(name, before)
        options = json.loads(json.dumps({**cli.decisive, **cli.resolved}))  # lists for tuples, as in run.json
        for logger in cli.trainer.loggers:
            logger.log_hyperparams(options)
    seconds = _fitted(cli)
    best = _best_checkpoint(cli)
    after = _validated(cli, best)
    done = TrainingRun(
        cli.system.name,
        name,
        before,
        after,
        len(cli.datamodule.train_set),
        cli.datamodule.held_out_names(),
        cli.trainer.global_step,
        seconds,
        str(best.resolve().relative_to(cli.run.path.resolve())),
        cli.folder,
    )
    if is_first:
        summary = {key: value for key, value in asdict(done).items() if key not in ("folder", "reported")}
        write_json(cli.folder / "summary.json", summary)
        cli.run.complete(name, best)
    cli.trainer.strategy.barrier()  # the other processes plan their next stage from these files
    return done


def _prepare_folder(cli: TrainingCLI, going_on: bool) -> None:
    if going_on:
        cli.run.remove_unfinished(cli.stage.name)
        return
    cli.run.begin(cli.stage.name, cli.stages(), cli.decisive, cli.resolved)
    write_text(cli.folder / "config.yaml", cli.parser.dump(cli.config, skip_none=False))


def _first_line(cli: TrainingCLI) -> str:
    """What runs on what, and where it lies."""
    several = len(cli.system.stages) > 1
    what = f"{cli.system.name}, stage {cli.stage.name}" if several else cli.system.name
    goes_on = ", goes on" if cli.plan.action == "resume" else ""
    where = device_line(cli.device, cli.resolved["precision"])
    counts = f"{len(cli.datamodule.train_set)} samples, {len(cli.datamodule.val_set)} held out"
    return f"{what}{goes_on}: {where}; {counts}; {cli.folder}"


def _batch_size(cli: TrainingCLI, going_on: bool) -> None:
    """With `--auto_batch`: search the largest batch, or take what was found when the stage was begun."""
    if not cli.config["auto_batch"]:
        return
    if going_on:
        cli.datamodule.batch_size = cli.resolved["batch_size"]
        return
    size = largest_batch(cli)
    if cli.speaks:
        cli.run.note_resolved(cli.stage.name, {**cli.resolved, "batch_size": size})


def _validated(cli: TrainingCLI, checkpoint: Path | None = None) -> dict[str, float]:
    """The held-out values of the present weights, or of those of a checkpoint."""
    trainer = cli.trainer
    loggers, trainer.loggers = trainer.loggers, []  # the curves are those of the training
    with _interruptible():
        [values] = trainer.validate(
            cli.model, cli.datamodule, ckpt_path=checkpoint, verbose=False, weights_only=True
        )
    trainer.loggers = loggers
    return dict(values)


def _fitted(cli: TrainingCLI) -> float:
    """Train to the end; returns the seconds that took."""
    start = time.perf_counter()
    try:
        with _interruptible():
            cli.trainer.fit(cli.model, cli.datamodule, ckpt_path=cli.plan.resume_from, weights_only=True)
    except Stopped as stop:
        if cli.speaks:
            name = signal.Signals(stop.signal_number).name
            print(f"{name} at step {stop.step}: checkpoint written; the same command goes on.", flush=True)
        raise KeyboardInterrupt from None
    return time.perf_counter() - start


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM ends what is not training as SIGINT does, and neither looks like a failure of ours.

    Lightning notes a SIGTERM for the end of a training step alone, and exits for a SIGINT by itself.
    """
    handler = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except SystemExit as error:
        raise KeyboardInterrupt from error
    finally:
        signal.signal(signal.SIGTERM, handler)


def _best_checkpoint(cli: TrainingCLI) -> Path:
    callback = cli.trainer.checkpoint_callback
    if not (isinstance(callback, ModelCheckpoint) and callback.best_model_path):
        remedy = "Validate at least once: see --trainer.check_val_every_n_epoch."
        fail("train", "trainer", "one whose held-out values choose a checkpoint", "no validation", remedy)
    return Path(callback.best_model_path)
