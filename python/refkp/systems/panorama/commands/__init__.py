"""The commands of the panorama system: `refkp panorama VERB` and `refkp train panorama`."""

from __future__ import annotations

from collections.abc import Callable

from refkp.systems.panorama.commands.bench import bench
from refkp.systems.panorama.commands.caption import caption
from refkp.systems.panorama.commands.evaluate import evaluate
from refkp.systems.panorama.commands.tiles import tiles
from refkp.systems.panorama.commands.train import train

__all__ = ["VERBS", "bench", "caption", "evaluate", "tiles", "train"]

#: Verb -> the function that runs it, for `refkp panorama VERB`.
VERBS: dict[str, Callable[[list[str]], int]] = {
    "tiles": tiles,
    "bench": bench,
    "caption": caption,
    "eval": evaluate,
}
