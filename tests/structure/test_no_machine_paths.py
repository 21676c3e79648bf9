"""Nothing in the project points into one machine: no home folders, no package hosts."""

from __future__ import annotations

import re

from tests.structure.tree import ROOT, files

SUFFIXES = (
    ".py",
    ".cpp",
    ".cu",
    ".cuh",
    ".h",
    ".md",
    ".toml",
    ".sh",
    ".json",
    ".yaml",
    ".cff",
    ".txt",
    ".sbatch",
    "",
)
FORBIDDEN = re.compile(
    r"(?<![\w.])/(?:work|root|home|opt|mnt)/\w|file://|(?:extra-)?index-url|find-links", re.IGNORECASE
)


def test_no_machine_paths() -> None:
    found = []
    for path in files(*SUFFIXES):
        if (
            path.resolve() == ROOT / "tests" / "structure" / "test_no_machine_paths.py"
            or path.suffix == ".npz"
        ):
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if FORBIDDEN.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}")
    assert not found, "\n".join(found)
