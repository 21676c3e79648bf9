"""The `refkp` command: dispatch, help, exit codes, and which errors become one line."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import types
from pathlib import Path

import pytest

from refkp import __version__, cli
from refkp.systems import built_systems, trained_systems


def stand_in(monkeypatch: pytest.MonkeyPatch, name: str, **members: object) -> None:
    module = types.ModuleType(name)
    vars(module).update(members)
    monkeypatch.setitem(sys.modules, name, module)


def test_help_names_every_command_and_system(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in (*cli.COMMANDS, "train", *built_systems()))


def test_module_and_version() -> None:
    output = subprocess.run(
        [sys.executable, "-m", "refkp", "--version"], capture_output=True, text=True, check=True
    )
    assert output.stdout == f"refkp {__version__}\n"


def test_a_command_gets_the_rest_and_gives_its_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    stand_in(monkeypatch, "refkp.verify.command", main=lambda argv: seen.append(argv) or 1)
    assert cli.main(["verify", "--golden", "x"]) == 1
    assert seen == [["--golden", "x"]]


def test_train_and_verbs_reach_the_file_of_their_name(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = "refkp.systems.panorama.commands"
    stand_in(monkeypatch, f"{commands}.evaluate", evaluate=lambda argv: len(argv))
    stand_in(monkeypatch, f"{commands}.train", train=lambda argv: 10 + len(argv))
    assert cli.main(["panorama", "eval", "pano.jpg"]) == 1
    assert cli.main(["train", "panorama", "--config", "tiny"]) == 12


@pytest.mark.parametrize("system", built_systems())
def test_every_verb_has_its_file_and_a_line_of_help(system: str, capsys: pytest.CaptureFixture[str]) -> None:
    verbs = importlib.import_module(f"refkp.systems.{system}.commands").VERBS
    folder = Path(cli.__file__).parent / "systems" / system / "commands"
    names = {*(["train"] if system in trained_systems() else []), *(file for file, _ in verbs.values())}
    for name in names:
        tree = ast.parse((folder / f"{name}.py").read_text())
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert cli.main([system, "--help"]) == 0
    text = capsys.readouterr().out
    assert all(line in text for _, line in verbs.values())


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "usage: refkp COMMAND"),
        (["inf"], "unknown command 'inf'. Did you mean 'info'?"),
        (["xyzzy"], "unknown command 'xyzzy'. Choose one of info, demo"),
        (["train"], "usage: refkp train"),
        (["train", "panoramas"], "unknown system 'panoramas'. Did you mean 'panorama'?"),
        (["panorama", "tile"], "unknown verb of panorama 'tile'. Did you mean 'tiles'?"),
    ],
)
def test_a_wrong_name_exits_2_with_a_hint(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(argv)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def run_raising(error: Exception, monkeypatch: pytest.MonkeyPatch, here: bool) -> int:
    """Run `refkp info` with a main that raises from a file of refkp, or from this one."""
    place = Path(cli.__file__).with_name("somewhere.py") if here else Path(__file__)
    scope: dict[str, object] = {"error": error}
    exec(compile("def main(argv):\n    raise error\n", str(place), "exec"), scope)
    stand_in(monkeypatch, "refkp.info", main=scope["main"])
    return cli.main(["info"])


@pytest.mark.parametrize("error", [ValueError("bad"), NotImplementedError("bad"), FileNotFoundError("bad")])
def test_our_own_errors_are_one_line(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_raising(error, monkeypatch, here=True) == 2
    assert capsys.readouterr().err == "refkp: bad\n"
    with pytest.raises(type(error)):
        run_raising(type(error)("bad"), monkeypatch, here=False)


def test_unexpected_errors_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="bug"):
        run_raising(RuntimeError("bug"), monkeypatch, here=True)


def test_a_file_that_cannot_be_opened_is_one_line_wherever_it_was_opened(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = FileNotFoundError(2, "No such file or directory", "pano.jpg")
    assert run_raising(error, monkeypatch, here=False) == 2
    assert capsys.readouterr().err == "refkp: pano.jpg: No such file or directory\n"


def test_a_missing_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = ModuleNotFoundError("No module named 'lightning'", name="lightning.pytorch")
    assert run_raising(error, monkeypatch, here=False) == 2
    assert (
        capsys.readouterr().err
        == "refkp: the package lightning is not installed; pip install 'refkp[train]'\n"
    )
    with pytest.raises(ModuleNotFoundError):
        run_raising(ModuleNotFoundError("No module named 'x'", name="x"), monkeypatch, here=True)
