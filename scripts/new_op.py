"""Write the empty chain of a new op: `python scripts/new_op.py NAME FAMILY`, e.g. `new_op.py epipolar flow`.

It creates every file that an op has, and adds the op to CMakeLists.txt, csrc/module.cpp and refkp.ops. The
new files hold their place only: tests/structure fails until each is filled: the list of what is left to do.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

PLACE_HOLDER = "NEW OP"

_HEADER = "// {mark}: the contract of {op}: entry points, shapes, strides.\n#pragma once\n"
_KERNEL = '#include "{family}/{op}.h"\n// {mark}: how the work is divided, what bounds it.\n'
_PUBLIC = '''"""{mark}: the public function, its docstring and its checks."""


def {op}(*, backend: str | None = None) -> None:
    raise NotImplementedError
'''

FILES = {
    "csrc/{family}/{op}.h": _HEADER,
    "csrc/{family}/{op}_cpu.cpp": _KERNEL,
    "csrc/{family}/{op}_cuda.cu": _KERNEL,
    "python/refkp/ops/{op}/__init__.py": _PUBLIC,
    "python/refkp/ops/{op}/reference.py": '"""{mark}: slow and obvious torch, float64-capable."""\n',
    "python/refkp/ops/{op}/library.py": '"""{mark}: torch.library: schema, fakes, autograd."""\n',
    "python/refkp/ops/{op}/native.py": '"""{mark}: forward and backward that call refkp._C."""\n',
    "python/refkp/ops/{op}/triton.py": '"""{mark}: forward and backward in Triton."""\n',
    "tests/ops/test_{op}.py": '"""{mark}: the checks of tests/support, errors, conventions, laws."""\n',
    "bench/test_bench_{op}.py": '"""{mark}: rows of {op} against its best peers."""\n',
}


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("name", help="the op: a noun phrase in snake_case")
    parser.add_argument("family", help="the folder of csrc, e.g. warp, vicreg, flow")
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1], help="the checkout")
    options = parser.parse_args(argv)
    for value in (options.name, options.family):
        if not re.fullmatch(r"[a-z][a-z0-9_]*", value):
            parser.error(f"names are snake_case; got {value!r}")
    try:
        write_chain(options.root, options.name, options.family)
    except FileExistsError as error:
        parser.error(str(error))
    return 0


def write_chain(root: Path, op: str, family: str) -> None:
    """Write the files, then the lines in shared ones. Nothing is written if any file exists."""
    texts = {
        root / path.format(op=op, family=family): text.format(op=op, family=family, mark=PLACE_HOLDER)
        for path, text in FILES.items()
    }
    present = [str(path) for path in texts if path.exists()]
    if present:
        raise FileExistsError(f"{op} has files already: {', '.join(present)}")
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        print(path.relative_to(root))
    _edit(root / "CMakeLists.txt", *(_build_rule(family, op, kind) for kind in ("cpu.cpp", "cuda.cu")))
    _edit(root / "csrc/module.cpp", (r"\n}\s*\Z", f"\n\n  // ---- {op} ----\n}}\n"))
    _edit(root / "python/refkp/ops/__init__.py", *_public_rules(op))


def _build_rule(family: str, op: str, kind: str) -> tuple[str, str]:
    """Appends the source to the list of its kind."""
    suffix = kind.partition(".")[2]
    variable = {"cpp": "REFKP_CPU_KERNELS", "cu": "REFKP_CUDA_KERNELS"}[suffix]
    return rf"(set\({variable}[^)]*)\)", rf"\1\n  csrc/{family}/{op}_{kind})"


def _public_rules(op: str) -> list[tuple[str, str]]:
    return [
        (r"(\nOPS = \([^)]*)\)", rf'\1, "{op}")'),
        (r"(\n__all__ = \[[^\]]*)\]", rf'\1    "{op}",\n]'),
        (r"(\nfrom refkp\.ops\.affine_warp import affine_warp\n)", rf"\1from refkp.ops.{op} import {op}\n"),
    ]


def _edit(path: Path, *rules: tuple[str, str]) -> None:
    """Apply each (pattern, replacement) exactly once."""
    text = path.read_text()
    for pattern, replacement in rules:
        text, count = re.subn(pattern, replacement, text, count=1)
        if count != 1:
            raise ValueError(f"new_op: {path} has no place for the new op; expected to match {pattern}.")
    path.write_text(text)
    print(f"{path.name} (edited)")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
