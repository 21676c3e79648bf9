"""Text is tested: paths in Markdown exist, the README's commands are real, doctests and README code run."""

from __future__ import annotations

import ast
import doctest
import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from refkp import cli
from refkp._extras import missing_message
from refkp.ops import OPS
from tests.structure.tree import PACKAGE, ROOT, files, module_name, parsed

README = ROOT / "README.md"
SET_UP = "python3 -m venv .venv && .venv/bin/pip install -q nox && .venv/bin/nox -s {session}"
MAX_README_LINES = 75  # a screen and a half
PATH_ENDS = (".py", ".md", ".cpp", ".toml", ".json", ".sh", ".cff")
TOP_LEVEL = {path.relative_to(ROOT).parts[0] for path in files(*PATH_ENDS)}


def named_paths(text: str) -> Iterator[str]:
    """Links, pictures, and words in backquotes that start with a top-level name of the project."""
    yield from re.findall(r'<img src="([^"]+)"', text)
    for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in link and not link.startswith("mailto:"):
            yield link
    for word in re.findall(r"`([\w./*-]+)`", text):
        if word.split("/")[0] in TOP_LEVEL and ("/" in word or "." in word):
            yield word


@pytest.mark.parametrize("path", files(".md"), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_path_in_markdown_exists(path: Path) -> None:
    for name in named_paths(path.read_text()):
        pattern = re.sub(r"NAME|FAMILY|SYSTEM", "*", name).rstrip("/")  # these stand for any name
        if not (any(ROOT.glob(pattern)) or any(path.parent.glob(pattern))):
            pytest.fail(f"{path.relative_to(ROOT)} names {name}, which does not exist")


def nox_sessions() -> set[str]:
    functions = (node for node in parsed(ROOT / "noxfile.py").body if isinstance(node, ast.FunctionDef))
    return {node.name for node in functions if any("session" in ast.unparse(d) for d in node.decorator_list)}


def shell_lines(text: str) -> list[str]:
    blocks = re.findall(r"```(?:bash|sh|console)\n(.*?)```", text, flags=re.DOTALL)
    return [line.removeprefix("$ ").strip() for block in blocks for line in block.splitlines()]


@pytest.mark.parametrize("path", files(".md"), ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_in_markdown_are_real(path: Path) -> None:
    for line in shell_lines(path.read_text()):
        for session in re.findall(r"nox -s ([\w ]+?)(?: --|$| #)", line):
            assert set(session.split()) <= nox_sessions(), f"{line}: no such nox session"
        for command in re.findall(r"(?:^|\s)refkp ([a-z]+)", line):
            assert command in {*cli.COMMANDS, *cli.SYSTEMS, "train"}, f"{line}: no such command"


def test_the_two_set_up_commands_are_one_line_each_and_ci_runs_the_second() -> None:
    lines = shell_lines(README.read_text())
    for session in ("demo", "tests"):
        assert SET_UP.format(session=session) in lines
    assert SET_UP.format(session="tests") in (ROOT / ".ci" / "run").read_text().splitlines()


def measured_ratios(op: str) -> list[float]:
    """How many times as fast as the best peer each row of an op was, in the run on a CPU that the README tells."""
    run = json.loads((ROOT / "bench" / "results" / "cpu-2-cores-avx512.json").read_text())
    rows = (row["extra_info"] for row in run["benchmarks"])
    return [row["ratio"] for row in rows if row["op"] == op]


def rounded(ratio: float) -> str:
    return f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}"


@pytest.mark.parametrize("op", OPS)
def test_the_ratios_of_the_readme_are_the_worst_and_the_best_that_were_measured(op: str) -> None:
    row = next(line for line in README.read_text().splitlines() if line.startswith(f"| `{op}` |"))
    ratios = measured_ratios(op)
    want = f"{rounded(min(ratios))} to {rounded(max(ratios))}" if ratios else "not measured yet"
    assert want in [cell.strip() for cell in row.split("|")], f"bench/results says {want}: {row}"


def test_the_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= MAX_README_LINES


@pytest.mark.parametrize("path", files(".py", under=PACKAGE), ids=module_name)
def test_doctests_run(path: Path) -> None:
    if ">>>" not in path.read_text():
        return
    try:
        module = importlib.import_module(module_name(path))
    except ModuleNotFoundError as error:
        reason = missing_message(error.name or "")
        if reason is None:
            raise
        pytest.skip(reason)
    result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize("path", [README, *(ROOT / "docs").glob("*.md")], ids=lambda path: path.name)
def test_the_code_of_readme_and_guides_runs(path: Path) -> None:
    """The Python blocks of a page in order, in one namespace; the lines after `>>>` must print what the text says."""
    if path != README:  # the README shows the core alone
        pytest.importorskip("PIL", reason="needs the extra `panorama`")
    namespace: dict[str, object] = {}
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", path.read_text(), flags=re.DOTALL)):
        title = f"{path.name}, block {number}"
        if ">>>" not in block:
            exec(compile(block, title, "exec"), namespace)
            continue
        example = doctest.DocTestParser().get_doctest(block, namespace, title, str(path), 0)
        runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
        runner.run(example, clear_globs=False)
        namespace = example.globs
        assert runner.failures == 0
