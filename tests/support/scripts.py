"""Tests that need a process of their own: for another environment, its peak of memory, or because it may crash."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap


def run_script(script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs Python code with the modules of this process, `tests` included, and `environment` set."""
    paths = os.pathsep.join(path for path in sys.path if path)
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), paths]), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
