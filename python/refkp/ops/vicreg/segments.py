"""The bounds of the segments on the host."""

from __future__ import annotations

import torch
from torch import Tensor

from refkp._checks import fail


def host_offsets(x: Tensor, offsets: Tensor | None) -> Tensor:
    """The offsets [P+1] on the CPU, contiguous and checked; offsets on another device are waited for."""
    if offsets is None:
        return torch.tensor([0, x.shape[0]])
    host = offsets.detach().cpu().contiguous()
    if bool((host[1:] < host[:-1]).any()):
        fail("vicreg", "offsets", "never descending", host.tolist(), "These offsets do not ascend.")
    if int(host[0]) != 0 or int(host[-1]) != x.shape[0]:
        ends = f"{int(host[0])} and {int(host[-1])}"
        fail("vicreg", "offsets", f"0 first and T={x.shape[0]} last", ends)
    return host
