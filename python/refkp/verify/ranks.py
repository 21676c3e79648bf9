"""Run a function in several processes that talk to each other, for golden cases of distributed runs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed, multiprocessing

#: After this a rank that waits for another gives up.
PATIENCE = timedelta(seconds=60)


def run_ranks(function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
    """What `function(*arguments[r])` returns on each rank r of a gloo group with one process a rank.

    The ranks meet through a file in a temporary folder, so that runs side by side need no ports.

    Args:
        function: defined in a module, since the processes import it.
        arguments: one tuple a rank; like the results, tensors and plain objects.

    Raises:
        torch.multiprocessing.ProcessRaisedException: a rank raised; the others are ended.
    """
    with tempfile.TemporaryDirectory() as folder:
        torch.save(list(arguments), Path(folder) / "arguments.pt")
        multiprocessing.spawn(_rank, (function, folder, len(arguments)), nprocs=len(arguments))
        return [torch.load(_result(folder, rank), weights_only=False) for rank in range(len(arguments))]


def _rank(rank: int, function: Callable[..., Any], folder: str, count: int) -> None:
    torch.set_num_threads(1)
    arguments = torch.load(Path(folder) / "arguments.pt", weights_only=False)[rank]
    store = distributed.FileStore(str(Path(folder) / "ranks"), count)
    store.set_timeout(PATIENCE)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=count, timeout=PATIENCE)
    torch.save(function(*arguments), _result(folder, rank))
    # A rank that leaves closes its connections, on which a slower one may still be reading.
    store.set(f"done {rank}", "")
    store.wait([f"done {other}" for other in range(count)])
    distributed.destroy_process_group()


def _result(folder: str, rank: int) -> Path:
    return Path(folder) / f"result_{rank}.pt"
