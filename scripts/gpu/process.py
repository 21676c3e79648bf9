"""A command under a time limit, with everything it started."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

#: Seconds that a command has to write what it knows, once interrupted: pytest writes its report then.
GRACE_S = 15.0
#: The exit code of a command that ran out of the time that it was told, and did not do everything.
CUT_SHORT = 3


class Outcome(NamedTuple):
    """How a command ended."""

    code: int | None  # None: it was stopped at its limit
    seconds: float
    output: str  # stdout and stderr together


def run(command: Sequence[str], limit_s: float, environment: Mapping[str, str], log: Path) -> Outcome:
    """Run `command`, appending its output to `log`.

    At its limit it is interrupted as by Ctrl-C, and after `GRACE_S` it and all that it started are killed.
    """
    start = time.monotonic()
    with log.open("a+") as file:
        file.write(f"\n==== {' '.join(command)}\n")
        file.flush()
        begin = file.tell()
        process = subprocess.Popen(
            command, env=dict(environment), stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        code = _wait(process, limit_s)
        if code is None:
            process.send_signal(signal.SIGINT)
            _wait(process, GRACE_S)
        _kill_group(process)
        file.seek(begin)
        return Outcome(code, round(time.monotonic() - start, 1), file.read())


def _wait(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    try:
        return process.wait(max(seconds, 0.0))
    except subprocess.TimeoutExpired:
        return None


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """End what is left. A process inside a driver call may not end; nothing waits for it for ever."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    _wait(process, GRACE_S)
