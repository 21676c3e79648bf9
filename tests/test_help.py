"""Every help comes quickly: it loads neither torch nor what its command does, and ends with an example."""

from __future__ import annotations

import importlib
import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("jsonargparse", reason="needs the extra `train`")

from refkp.cli import COMMANDS
from refkp.commands import parsed
from refkp.systems import built_systems

#: What no help may wait for.
HEAVY = {"torch", "lightning", "transformers", "matplotlib", "cv2", "trimesh", "embreex", "PIL"}

SCRIPT = """
import contextlib, io, json, sys
from refkp.cli import main

text, code = io.StringIO(), 0
with contextlib.redirect_stdout(text):
    try:
        code = main(sys.argv[1:])
    except SystemExit as stop:
        code = stop.code
print(json.dumps({"code": code, "text": text.getvalue(), "modules": sorted(sys.modules)}))
"""


def verbs() -> Iterator[tuple[str, ...]]:
    """Every command with options of its own but those of training, which are the trainer's too."""
    yield from ((command,) for command in COMMANDS)
    for system in built_systems():
        table = importlib.import_module(f"refkp.systems.{system}.commands").VERBS
        yield from ((system, verb) for verb in table)


LISTINGS = [(), ("train",), *((system,) for system in built_systems())]


def told(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-c", SCRIPT, *arguments, "--help"]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize("arguments", list(verbs()), ids=" ".join)
def test_the_help_of_a_verb_loads_nothing_heavy_and_ends_with_an_example(arguments: tuple[str, ...]) -> None:
    help_ = told(*arguments)
    assert help_["code"] == 0
    assert not HEAVY & set(help_["modules"])
    text = help_["text"]
    assert text.startswith(f"usage: refkp {' '.join(arguments)}")
    assert example_of(text)[: 1 + len(arguments)] == ["refkp", *arguments]


def example_of(text: str) -> list[str]:
    """The words of the last line of an example; lines before it make what it needs."""
    return shlex.split(text.partition("\nexample:\n")[2].splitlines()[-1])


@pytest.mark.parametrize(("system", "verb"), [call for call in verbs() if len(call) == 2])
def test_the_example_of_a_verb_is_one_that_its_parser_takes(system: str, verb: str) -> None:
    commands = f"refkp.systems.{system}.commands"
    file, _ = importlib.import_module(commands).VERBS[verb]
    parser = importlib.import_module(f"{commands}.{file}")._parser()
    parsed(parser, example_of(parser.format_help())[3:])


@pytest.mark.parametrize("arguments", LISTINGS, ids=" ".join)
def test_a_list_of_commands_loads_none_of_them(arguments: tuple[str, ...]) -> None:
    help_ = told(*arguments)
    assert help_["code"] == 0
    assert not {*HEAVY, "jsonargparse", "refkp.commands"} & set(help_["modules"])
    assert help_["text"].startswith("usage: refkp")


@pytest.mark.parametrize(
    ("file", "examples"),
    [
        ("generate", ["--size '[480, 640]'", "--distance '[2.0, 5.0]'", "--templates_size '[480, 640]'"]),
        ("render_templates", ["--size '[480, 640]'"]),
    ],
)
def test_an_option_of_a_list_shows_how_it_is_written(file: str, examples: list[str]) -> None:
    text = importlib.import_module(f"refkp.systems.pose.commands.{file}")._parser().format_help()
    assert all(f"as {example}" in " ".join(text.split()) for example in examples)
    assert all(example.partition(" ")[2] in text for example in examples)  # on one line
