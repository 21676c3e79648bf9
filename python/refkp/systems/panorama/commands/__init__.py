"""The commands of the panorama system: `refkp panorama VERB` and `refkp train panorama`."""

from __future__ import annotations

from collections.abc import Callable

from refkp.systems.panorama.commands.budget import budget
from refkp.systems.panorama.commands.caption import caption
from refkp.systems.panorama.commands.compare import compare
from refkp.systems.panorama.commands.evaluate import evaluate
from refkp.systems.panorama.commands.quality import quality
from refkp.systems.panorama.commands.tiles import tiles
from refkp.systems.panorama.commands.train import train

__all__ = ["VERBS", "budget", "caption", "compare", "evaluate", "quality", "tiles", "train"]

#: Verb -> the function that runs it, for `refkp panorama VERB`.
VERBS: dict[str, Callable[[list[str]], int]] = {
    "tiles": tiles,
    "budget": budget,
    "caption": caption,
    "eval": evaluate,
    "compare": compare,
    "quality": quality,
}
