"""Seeds of random calls: a few in every test run, thousands in the fuzz session (`scripts/fuzz.py`).

REFKP_FUZZ_FIRST and REFKP_FUZZ_CALLS say which; the seed of a call is the same in every run, so that a failure can be
repeated alone.
"""

from __future__ import annotations

import faulthandler
import os
import random
import zlib
from collections.abc import Callable
from pathlib import Path

#: Calls of each kind without REFKP_FUZZ_CALLS.
FEW = 120
#: Seconds after which a call counts as hanging: the process ends with a traceback.
LONGEST = 120.0


def each_seed(kind: str, call: Callable[[random.Random], None]) -> None:
    """Run `call` with a generator for each seed. An error names the seed, as does the file REFKP_FUZZ_LAST."""
    first, count = (
        int(os.environ.get("REFKP_FUZZ_FIRST", "0")),
        int(os.environ.get("REFKP_FUZZ_CALLS", str(FEW))),
    )
    last = os.environ.get("REFKP_FUZZ_LAST")
    for seed in range(first, first + count):
        if last:
            Path(last).write_text(f"{kind}, seed {seed}\n")
        faulthandler.dump_traceback_later(LONGEST, exit=True)
        try:
            call(random.Random(zlib.crc32(f"{kind} {seed}".encode())))
        except Exception as error:
            repeat = f"REFKP_FUZZ_FIRST={seed} REFKP_FUZZ_CALLS=1"
            raise AssertionError(
                f"{kind}, seed {seed} ({repeat}): {type(error).__name__}: {error}"
            ) from error
        finally:
            faulthandler.cancel_dump_traceback_later()
