"""The segments as the host sees them, and the table that the GPU kernels read."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from refkp._checks import fail


def host_offsets(x: Tensor, offsets: Tensor | None) -> Tensor:
    """The offsets [P+1] on the CPU, contiguous and checked; those on another device are waited for."""
    if offsets is None:
        return torch.tensor([0, x.shape[0]])
    host = offsets.detach().cpu().contiguous()
    descents = (host[1:] < host[:-1]).nonzero().flatten().tolist()
    if descents:
        at = descents[0] + 1
        got = f"{int(host[at])} at {at} after {int(host[at - 1])}"
        fail("vicreg", "offsets", "ascending (repeats allowed)", got, "It bounds segments of rows.")
    if int(host[0]) != 0 or int(host[-1]) != x.shape[0]:
        ends = f"{int(host[0])} and {int(host[-1])}"
        fail("vicreg", "offsets", f"0 first and T={x.shape[0]} last", ends)
    return host


class Plan(NamedTuple):
    """What a launch on the GPU needs to know of the segments."""

    table: Tensor  # int64 [2,P+1] on the device: the offsets; the running sum of min(n, D)^2
    num_segments: int
    max_rows: int  # of the longest segment
    gram_elements: int  # of all Gram matrices of one branch; never more than T D


def plan(x: Tensor, offsets: Tensor | None) -> Plan:
    """The plan of a launch; the table is copied to the device of `x` without waiting for it."""
    host = host_offsets(x, offsets)
    rows = host.diff()
    gram_offsets = torch.zeros_like(host)
    torch.cumsum(rows.clamp(max=x.shape[1]) ** 2, dim=0, out=gram_offsets[1:])
    table = torch.stack([host, gram_offsets]).to(x.device, non_blocking=True)
    max_rows = int(rows.max()) if rows.numel() else 0
    return Plan(table, rows.numel(), max_rows, int(gram_offsets[-1]))
