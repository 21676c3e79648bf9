"""Which backend runs a call: each answers "can you, and if not why" in one predicate."""

from __future__ import annotations

import importlib.util
import logging
import os
from importlib import import_module
from typing import Any

import torch

from refkp import _native
from refkp._checks import require_choice

logger = logging.getLogger("refkp.ops")

#: Every backend, fastest first.
BACKENDS = ("native", "triton", "reference")

# Asked once, here, so that it is a constant to torch.compile.
_HAS_TRITON = importlib.util.find_spec("triton") is not None

_CPU_DTYPES = (torch.float32, torch.float64)
_CUDA_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def choose_backend(op: str, backend: str | None, device: torch.device, dtype: torch.dtype) -> str:
    """The backend that runs `op` on tensors of `device` and floating `dtype`.

    `backend=None` takes the fastest that supports the call and logs why faster ones were passed over. A named backend
    is never replaced: NotImplementedError says why it cannot run, and the remedy.
    """
    if backend is not None:
        require_choice(op, "backend", backend, (*BACKENDS, None))
        reason = unsupported_reason(backend, device, dtype)
        if reason is not None:
            raise NotImplementedError(f"{op}: backend {backend!r} cannot run this call: {reason}.")
        return backend
    for candidate in BACKENDS:
        reason = unsupported_reason(candidate, device, dtype)
        if reason is None:
            return candidate
        if not torch.compiler.is_compiling():
            logger.debug("%s: backend %r passed over: %s", op, candidate, reason)
    raise AssertionError("the reference backend supports every call")


def kernels(op: str, backend: str) -> Any:
    """The module with the `forward` and `backward` of an op by the backend "native" or "triton"."""
    return import_module(f"refkp.ops.{op}.{backend}")


def unsupported_reason(backend: str, device: torch.device, dtype: torch.dtype) -> str | None:
    """Why `backend` cannot run on tensors of `device` and `dtype`, with the remedy; None when it can."""
    if backend == "native":
        return _native_reason(device, dtype)
    if backend == "triton":
        return _triton_reason(device, dtype)
    return None


def _native_reason(device: torch.device, dtype: torch.dtype) -> str | None:
    reason = _native.missing_reason()
    if reason is not None:
        return reason
    if device.type == "cpu":
        return _dtype_reason(dtype, _CPU_DTYPES, "on CPU")
    if device.type == "cuda":
        if not _native.has_cuda_kernels():
            return "refkp was built without CUDA kernels; rebuild it with nvcc on PATH"
        return _dtype_reason(dtype, _CUDA_DTYPES, "on CUDA")
    return f"device type {device.type!r} has no kernels; use a CPU or CUDA tensor"


def _triton_reason(device: torch.device, dtype: torch.dtype) -> str | None:
    if not _HAS_TRITON:
        return "the package triton is not installed; pip install 'refkp[triton]'"
    if device.type == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        return "CPU tensors need Triton's interpreter; set TRITON_INTERPRET=1 before the first call"
    if device.type not in ("cpu", "cuda"):
        return f"device type {device.type!r} has no kernels; use a CPU or CUDA tensor"
    return _dtype_reason(dtype, _CUDA_DTYPES, "in Triton")


def _dtype_reason(dtype: torch.dtype, allowed: tuple[torch.dtype, ...], where: str) -> str | None:
    if dtype in allowed:
        return None
    names = ", ".join(str(item).removeprefix("torch.") for item in allowed)
    return f"{str(dtype).removeprefix('torch.')} is not supported {where}; convert to one of {names}"
