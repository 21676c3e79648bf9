"""The deliberate bugs of scripts/mutants can still be put into the sources, and name tests that exist."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from scripts.mutate import Mutant, Outcome, read_mutants
from tests.structure.tree import ROOT, parsed

MUTANTS = read_mutants()
FEWEST = 60
#: Parts that must have some: folders and files of the project.
PARTS = (
    *("csrc/warp", "csrc/vicreg", "csrc/flow", "csrc/common"),
    *(f"python/refkp/ops/{op}" for op in ("affine_warp", "equivariance_loss", "e2p", "vicreg", "flow_gt")),
    *("python/refkp/geometry/pnp", "python/refkp/geometry/sphere.py", "python/refkp/geometry/cameras.py"),
    *("python/refkp/nn", "python/refkp/training"),
    *(
        f"python/refkp/systems/{s}/{part}"
        for s in ("pose", "panorama")
        for part in ("model", "losses", "metrics")
    ),
)


def test_there_are_enough_of_every_part() -> None:
    assert len(MUTANTS) >= FEWEST
    for part in PARTS:
        assert any(mutant.file.startswith(part) for mutant in MUTANTS), part


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_it_can_be_put_into_its_file(mutant: Mutant) -> None:
    source = (ROOT / mutant.file).read_text()
    assert mutant.written_into(source) != source


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_its_tests_exist(mutant: Mutant) -> None:
    for test in mutant.tests:
        file, _, name = test.partition("::")
        assert (ROOT / file).exists(), test
        if name:
            functions = {getattr(node, "name", "") for node in parsed(ROOT / file).body}
            assert name.partition("[")[0] in functions, test


def test_a_text_that_is_not_there_once_is_an_error() -> None:
    mutant = dataclasses.replace(MUTANTS[0], text="x")
    with pytest.raises(ValueError, match=r"its text occurs 2 times.*mend the entry"):
        mutant.written_into("x = x")


def test_names_are_unique(tmp_path: Path) -> None:
    table = '[[mutant]]\nname = "twice"\nfile = "a"\ntext = "b"\nbecomes = "c"\ntests = []\n'
    (tmp_path / "two.toml").write_text(2 * table)
    with pytest.raises(ValueError, match="given twice: twice"):
        read_mutants(tmp_path)


def test_what_is_wanted_of_a_mutant() -> None:
    wanted = {
        status: Outcome("m", "f", status, 0.0, "").wanted for status in ("caught", "survived", "broken")
    }
    assert wanted == {"caught": True, "survived": False, "broken": False}
