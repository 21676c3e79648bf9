"""The signals that end a training, and the loader's processes, which they must not end.

Ctrl-C and a cluster's SIGTERM reach every process of a training, but until its checkpoint is written it needs
batches.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

ENDING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def ending_waits() -> Iterator[None]:
    """A signal that comes meanwhile is seen at the end; processes started meanwhile never see it."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def obey_the_parent_alone(worker: int) -> None:
    """For a loader's process started while `ending_waits`: it ends at a SIGTERM of its parent, and at no other."""
    threading.Thread(target=_end_when_the_parent_says, daemon=True).start()


def _end_when_the_parent_says() -> None:
    while signal.sigwaitinfo(ENDING).si_pid != os.getppid():
        pass
    os._exit(0)
