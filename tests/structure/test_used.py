"""The package holds no code that tests alone call."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.structure.tree import PACKAGE, ROOT, files, parsed

#: What is there for users of the package, by design, before anything in it needs it.
FOR_USERS = {"compose_affine", "from_pytorch3d"}


def words() -> Counter[str]:
    """How often each word stands in the project, tests and the list of changes left out."""
    texts = files(".py", ".md", ".yaml", ".toml", ".sh")
    ours = [path for path in texts if not path.is_relative_to(ROOT / "tests") and path.name != "CHANGELOG.md"]
    return Counter(word for path in ours for word in re.findall(r"\w+", path.read_text()))


def definitions(path: Path) -> Iterator[tuple[str, str]]:
    """(name, source) of the public functions and classes of a file; decorators may register what they stand on."""
    for node in parsed(path).body:
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef)) or node.name.startswith("_"):
            continue
        if isinstance(node, ast.ClassDef) or not node.decorator_list:
            yield node.name, ast.get_source_segment(path.read_text(), node) or ""


def test_every_public_function_and_class_is_used_or_told() -> None:
    told = words()
    unused = [
        f"{path.relative_to(PACKAGE)}: {name}"
        for path in files(".py", under=PACKAGE)
        for name, source in definitions(path)
        if told[name] == len(re.findall(rf"\b{name}\b", source))
        and not name.startswith("_")
        and name not in FOR_USERS
    ]
    assert not unused, f"named nowhere outside of tests; use or remove: {', '.join(unused)}"
