"""The commands of the pose system: `refkp pose VERB` and `refkp train pose`."""

from __future__ import annotations

from collections.abc import Callable

from refkp.systems.pose.commands.evaluate import evaluate
from refkp.systems.pose.commands.generate import generate
from refkp.systems.pose.commands.infer import infer
from refkp.systems.pose.commands.render_templates import render_templates
from refkp.systems.pose.commands.train import train

__all__ = ["VERBS", "evaluate", "generate", "infer", "render_templates", "train"]

#: Verb -> the function that runs it, for `refkp pose VERB`.
VERBS: dict[str, Callable[[list[str]], int]] = {
    "generate": generate,
    "render-templates": render_templates,
    "infer": infer,
    "eval": evaluate,
}
