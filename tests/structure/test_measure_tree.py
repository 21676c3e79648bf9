"""scripts/measure_tree.py counts what it says it counts."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

from tests.structure.tree import ROOT

MEASURE = runpy.run_path(str(ROOT / "scripts" / "measure_tree.py"))
FUNCTION = '''def area(width: float, height: float) -> float:
    """A docstring."""

    # A comment.
    import math
    half = width / 2
    if half > height:
        return math.inf
    rows = [half for _ in range(3)]
    return sum(rows)
'''


def checkout(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / "python" / "refkp" / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def measured(root: Path) -> dict[str, dict[str, object]]:
    assert MEASURE["main"]([str(root), "--json", str(root / "numbers.json")]) == 0
    return json.loads((root / "numbers.json").read_text())


def test_a_copy_is_a_pair_and_a_renamed_copy_is_one_of_the_other_kind(tmp_path: Path) -> None:
    renamed = FUNCTION.replace("width", "depth").replace("rows", "layers").replace("3", "7")
    checkout(tmp_path, training__a=FUNCTION, training__b=f"X = 1\n{FUNCTION}", commands=renamed)
    told = measured(tmp_path)
    assert told["pairs"] == {"identical": 1, "renamed": 3}
    assert told["parts"]["training"] == {"files": 2, "lines": 21, "code": 13}
    assert told["parts"]["sum of these"] == {"files": 3, "lines": 31, "code": 19}
    assert told["functions"] == {
        "number": 3, "median": 9, "largest": 9, "largest_is": "training/b.py:area",
    }  # fmt: skip


def test_other_code_and_lists_are_no_pair(tmp_path: Path) -> None:
    swapped = FUNCTION.replace("half > height", "height > half")
    fields = "class {0}:\n" + "".join(f"    {{0}}{n}: int\n" for n in range(9))
    checkout(tmp_path, a=FUNCTION, b=swapped, c=fields.format("A"), d=fields.format("B"))
    assert measured(tmp_path)["pairs"] == {"identical": 0, "renamed": 0}


def test_a_folder_that_is_no_checkout_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        MEASURE["main"]([str(tmp_path)])
    assert "it has no folder python/refkp" in capsys.readouterr().err
