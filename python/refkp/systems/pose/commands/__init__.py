"""The commands of the pose system: `refkp pose VERB` and `refkp train pose`."""

from __future__ import annotations

from collections.abc import Callable

from refkp.systems.pose.commands.generate import generate
from refkp.systems.pose.commands.render_templates import render_templates

__all__ = ["VERBS", "generate", "render_templates"]

#: Verb -> the function that runs it, for `refkp pose VERB`.
VERBS: dict[str, Callable[[list[str]], int]] = {
    "generate": generate,
    "render-templates": render_templates,
}
