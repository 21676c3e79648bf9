"""Reading back what a run logged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from refkp._extras import named_extras

Curve = tuple[list[int], list[float]]  # steps, values


def read_curves(folder: str | Path, names: Sequence[str]) -> dict[str, Curve]:
    """The scalars `names` of the TensorBoard log in `folder`.

    Raises:
        ValueError: a name was never logged; the message lists those that were.
    """
    with named_extras():
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    log.Reload()
    known = log.Tags()["scalars"]
    for name in names:
        if name not in known:
            raise ValueError(
                f"read_curves: `names` must be logged in {folder}; got {name!r}, there are {', '.join(known)}."
            )
    return {
        name: ([e.step for e in log.Scalars(name)], [e.value for e in log.Scalars(name)]) for name in names
    }
