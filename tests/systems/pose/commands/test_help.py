"""The help of every verb: quick, without torch, and with an example that its own parser takes."""

from __future__ import annotations

import importlib
import shlex
import subprocess
import sys

import pytest

pytest.importorskip("jsonargparse")

from refkp.systems.pose.commands import VERBS

FILES = [(verb, file) for verb, (file, _) in VERBS.items()]

#: Runs a command and tells which packages that are slow to import it has imported.
HELP = """
import sys
from refkp.cli import main
try:
    main(sys.argv[1:])
finally:
    heavy = {"torch", "cv2", "embreex", "trimesh", "matplotlib", "lightning", "PIL"} & sys.modules.keys()
    print("imported:", sorted(heavy))
"""


@pytest.mark.parametrize(("verb", "file"), FILES)
def test_help_imports_nothing_heavy_and_ends_with_an_example(verb: str, file: str) -> None:
    call = [sys.executable, "-c", HELP, "pose", verb, "--help"]
    text = subprocess.run(call, capture_output=True, text=True, check=True).stdout
    assert "imported: []" in text
    assert "example:\n" in text
    assert f"refkp pose {verb}" in text.partition("example:\n")[2]


@pytest.mark.parametrize(("verb", "file"), FILES)
def test_the_example_is_one_that_the_parser_takes(verb: str, file: str) -> None:
    module = importlib.import_module(f"refkp.systems.pose.commands.{file}")
    parser = module._parser()
    example = parser.format_help().partition("example:\n")[2].strip().splitlines()[-1]
    words = shlex.split(example)
    assert words[:3] == ["refkp", "pose", verb]
    parser.instantiate(parser.parse_args(words[3:]))
