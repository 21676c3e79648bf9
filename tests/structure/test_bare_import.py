"""`import refkp` needs torch and numpy alone, is quick, and touches no device."""

from __future__ import annotations

import json
import subprocess
import sys

#: What torch itself may load on first use.
TORCH_NEEDS = (
    *("torch", "torchgen", "functorch", "numpy", "typing_extensions", "sympy", "mpmath", "networkx"),
    *("jinja2", "markupsafe", "filelock", "fsspec", "packaging"),
)
MODULES = (
    *("refkp", "refkp.ops", "refkp.geometry", "refkp.cli", "refkp.commands", "refkp.info", "refkp.machine"),
    *("refkp.verify.command", "refkp.verify.runner", "refkp.bench"),
)
SCRIPT = '''
import importlib, json, sys, time
import numpy, torch

allowed = {*sys.stdlib_module_names, "refkp", *sys.argv[1].split(",")}

class Hide:
    """The finders, to whom packages that are not allowed do not exist."""

    def __init__(self, finders):
        self.finders = finders

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in allowed and not name.startswith("_"):
            return None
        specs = (finder.find_spec(name, path, target) for finder in self.finders)
        return next((spec for spec in specs if spec is not None), None)

sys.meta_path[:] = [Hide(sys.meta_path[:])]
before, start = set(sys.modules), time.perf_counter()
for module in sys.argv[2].split(","):
    importlib.import_module(module)
new = {name.partition(".")[0] for name in set(sys.modules) - before}
print(json.dumps({
    "seconds": time.perf_counter() - start,
    "new": sorted(name for name in new - allowed if not name.startswith("_")),
    "triton": "triton" in sys.modules,
    "compiler": "torch._dynamo" in sys.modules,  # takes a second to import
    "extension": "refkp._C" in sys.modules,
    "cuda": torch.cuda.is_initialized(),
}))
'''


def bare_import(*modules: str) -> dict[str, object]:
    command = [sys.executable, "-c", SCRIPT, ",".join(TORCH_NEEDS), ",".join(modules)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_import_loads_nothing_else_and_is_quick() -> None:
    told = bare_import("refkp")
    assert told.pop("seconds") < 0.2
    assert told == {"new": [], "triton": False, "compiler": False, "extension": False, "cuda": False}


def test_ops_geometry_and_commands_need_torch_and_numpy_alone() -> None:
    told = bare_import(*MODULES)
    assert told.pop("seconds") < 5.0
    assert told | {"extension": False} == {
        "new": [],
        "triton": False,
        "compiler": False,
        "extension": False,
        "cuda": False,
    }
