"""Where the CUDA toolkit is, and what the card is."""

from __future__ import annotations

import glob
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

_QUESTION = """
import json, torch
there = torch.cuda.is_available()
card = torch.cuda.get_device_properties(0) if there else None
print(json.dumps({
    "torch": torch.__version__, "cuda": torch.version.cuda, "python": __import__("platform").python_version(),
    "card": card.name if there else None, "capability": [card.major, card.minor] if there else None,
    "memory_gib": round(card.total_memory / 2**30, 1) if there else None,
}))
"""


def machine() -> dict[str, object]:
    """What torch says of itself and of the first card (`card` is None where there is none)."""
    done = subprocess.run([sys.executable, "-c", _QUESTION], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"gpu_check: {sys.executable} cannot import torch:\n{done.stderr}")
    return json.loads(done.stdout)


def find_tool(name: str) -> str | None:
    """A program of the toolkit: on PATH, in CUDA_HOME, under /usr/local, or in the wheels of the toolkit."""
    on_path = shutil.which(name)
    if on_path is not None:
        return on_path
    homes = [os.environ.get(variable) for variable in ("CUDA_HOME", "CUDA_PATH")]
    homes += sorted(glob.glob("/usr/local/cuda*"), reverse=True)
    # The wheels: nvidia/cu13 holds the whole toolkit, nvidia/cuda_nvcc and nvidia/cuda_sanitizer_api a part of it.
    homes += sorted(glob.glob(f"{sysconfig.get_path('purelib')}/nvidia/cu*"), reverse=True)
    for home in filter(None, homes):
        for folder in ("bin", "compute-sanitizer", "extras/compute-sanitizer"):
            path = Path(home, folder, name)
            if os.access(path, os.X_OK):
                return str(path)
    return None


def has(package: str) -> bool:
    """Whether a package is installed, by import name."""
    return importlib.util.find_spec(package) is not None
