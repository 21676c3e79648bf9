"""Tensors beside memory that must not be touched: a read one byte beyond them ends the process."""

from __future__ import annotations

import ctypes
import mmap

import torch
from torch import Tensor

_LIBC = ctypes.CDLL(None, use_errno=True)
_NO_ACCESS = 0


def guarded(tensor: Tensor, *, at_end: bool) -> Tensor:
    """A copy with the strides of `tensor`, flush with a forbidden page behind its last or before its first element.

    The mapping is never freed: it lives as long as the process of the test.
    """
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    last = sum((length - 1) * stride for length, stride in steps)
    nbytes = tensor.element_size() * (last + 1) if tensor.numel() else 0
    pages = -(-nbytes // mmap.PAGESIZE) or 1
    _LIBC.mmap.restype = ctypes.c_void_p
    _LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *(ctypes.c_int,) * 3, ctypes.c_long]
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    first = _LIBC.mmap(None, (pages + 2) * mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0)
    start, end = first + mmap.PAGESIZE, first + (pages + 1) * mmap.PAGESIZE
    for guard in (first, end):
        if _LIBC.mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(mmap.PAGESIZE), _NO_ACCESS) != 0:
            raise OSError(ctypes.get_errno(), "mprotect")
    place = (ctypes.c_byte * nbytes).from_address(end - nbytes if at_end else start)
    copy = torch.frombuffer(place, dtype=tensor.dtype).as_strided(tensor.shape, tensor.stride())
    return copy.copy_(tensor)
