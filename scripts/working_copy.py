"""A copy of a checkout with a compiled extension of its own, for programs that change or instrument what they test."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]


class WorkingCopy:
    """The files that git knows or would add, copied to `folder`; the copy is what Python imports in `run`."""

    def __init__(self, folder: Path, options: Sequence[str] = ()) -> None:
        self.folder = folder
        self.options = options  # of CMake
        for name in _files_of(ROOT):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)

    def build(self) -> None:
        """Compile what changed, for the CPU alone. Raises CalledProcessError with the compiler's words."""
        build = self.folder / "build"
        if not build.exists():
            found = subprocess.run(
                ["pybind11-config", "--cmakedir"], capture_output=True, text=True, check=True
            )
            places = (f"-Dpybind11_DIR={found.stdout.strip()}", f"-DPython_EXECUTABLE={sys.executable}")
            self._cmake("-S", ".", "-B", "build", "-G", "Ninja", "-DREFKP_CUDA=OFF", *places, *self.options)
        self._cmake("--build", "build")
        (library,) = build.glob("_C*")
        shutil.copy2(library, self.folder / "python" / "refkp")

    def _cmake(self, *arguments: str) -> None:
        subprocess.run(["cmake", *arguments], cwd=self.folder, check=True, capture_output=True, text=True)

    def run(
        self, *arguments: str, timeout: float | None = None, captured: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run Python in the copy, with its output in the result if `captured`. Raises TimeoutExpired."""
        settings = {"PYTHONPATH": str(self.folder / "python"), "PYTHONDONTWRITEBYTECODE": "1", **environment}
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env={**os.environ, **settings},
            timeout=timeout,
            capture_output=captured,
            text=True,
            check=False,
        )


def _files_of(root: Path) -> list[str]:
    command = ["git", "-C", str(root), "ls-files", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, capture_output=True, text=True, check=True)
    return [name for name in listing.stdout.splitlines() if (root / name).is_file()]
