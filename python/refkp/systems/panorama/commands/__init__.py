"""The commands of the panorama system: `refkp panorama VERB`, and `refkp train panorama` beside them."""

from __future__ import annotations

#: Verb -> its file, which holds a function of the same name, and what it does. Nothing is imported to tell this.
VERBS: dict[str, tuple[str, str]] = {
    "tiles": ("tiles", "draw what a layout sees of a panorama"),
    "budget": ("budget", "count tokens, operations and coverage of a layout"),
    "caption": ("caption", "describe panoramas with a trained run"),
    "eval": ("evaluate", "score a trained run on caption files"),
    "compare": ("compare", "train with true overlaps and with strips, equally"),
    "quality": ("quality", "compare antialiased tiles with supersampling"),
}
