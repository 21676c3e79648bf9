"""The command `refkp verify`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from refkp._files import write_json
from refkp.commands import plain_parser, require_output
from refkp.verify import BACKENDS

_DESCRIPTION = """\
Compare refkp with golden outputs.

Each case is compared by the rule of its manifest; its line shows the array that came closest to its
allowance or beyond it. Exit status: 0 if nothing failed, 1 if a case failed or raised, 2 if the golden
folder cannot be used.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `refkp verify` with the given arguments (the process's own if None) and return the exit status."""
    options = _parser().parse_args(argv)
    require_output("refkp verify", options)
    if options.backend == "triton":
        _let_triton_run()

    from refkp.verify import report
    from refkp.verify.manifest import GoldenError
    from refkp.verify.runner import run

    try:
        golden = options.golden or default_golden()
        if options.json is not None and not options.json.absolute().parent.is_dir():
            raise GoldenError(f"--json {options.json}: the folder {options.json.parent} does not exist.")
        rows = run(
            golden,
            system=options.system,
            function=options.function,
            backend=options.backend,
            on_row=report.print_row,
        )
    except GoldenError as error:
        print(f"refkp verify: {error}", file=sys.stderr)
        return 2
    print(report.summary(rows))
    if options.json is not None:
        write_json(options.json, [row.to_json() for row in rows])
    return int(any(row.status in ("fail", "error") for row in rows))


def default_golden() -> Path:
    """The golden folder of the checkout that the command runs in, or from which refkp is imported.

    Raises:
        GoldenError: there is none, as for an installed package; `--golden` must name one.
    """
    from refkp.verify.manifest import GoldenError

    here = Path.cwd()
    for folder in (here, *here.parents, Path(__file__).resolve().parents[3]):
        if (folder / "pyproject.toml").is_file() and any(folder.glob("golden/*/manifest.json")):
            return folder / "golden"
    raise GoldenError("no golden folder here: run it in a checkout of refkp, or name a folder with --golden.")


def _let_triton_run() -> None:
    """Without a CUDA device Triton runs under its interpreter, which it decides when it is imported: after this."""
    import torch

    if not torch.cuda.is_available():
        os.environ.setdefault("TRITON_INTERPRET", "1")


def _parser() -> argparse.ArgumentParser:
    parser = plain_parser(
        "refkp verify",
        _DESCRIPTION,
        example="refkp verify --system keypoints --function affine_theta --json rows.json",
    )
    parser.add_argument(
        "--golden",
        type=Path,
        metavar="DIR",
        help="folder with one SYSTEM/manifest.json per system (default: golden/ of the checkout)",
    )
    parser.add_argument("--system", metavar="S", help="only the cases of this system")
    parser.add_argument("--function", metavar="F", help="only the cases of this golden function")
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        help="run the ops only on this backend, and fail where it is unavailable (default: each available "
        "one). `triton` without a CUDA device runs under Triton's interpreter: TRITON_INTERPRET=1 is set for "
        "it; set it yourself to have triton in a default run",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows as JSON to this file")
    return parser
