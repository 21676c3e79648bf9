"""The compiled extension `refkp._C`, or why it is missing.

It is loaded when this module is: so torch.compile sees constants, not an import in the middle of a traced call.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

import torch
from torch import Tensor


def _load() -> tuple[ModuleType | None, str | None]:
    try:
        return import_module("refkp._C"), None
    except ImportError as error:
        remedy = "reinstall refkp with a C++ compiler"
        return None, f"the compiled extension refkp._C cannot be imported ({error}); {remedy}"


_EXTENSION, _MISSING_REASON = _load()
_HAS_CUDA_KERNELS = _EXTENSION is not None and _EXTENSION.build_info()["cuda"] is not None


def missing_reason() -> str | None:
    """Why the extension is unavailable, or None when it is there."""
    return _MISSING_REASON


def has_cuda_kernels() -> bool:
    """Whether the extension was compiled with the CUDA kernels."""
    return _HAS_CUDA_KERNELS


def extension() -> ModuleType:
    """The extension module. Raises ImportError with the reason and the remedy when it is missing."""
    if _EXTENSION is None:
        raise ImportError(_MISSING_REASON)
    return _EXTENSION


def build_info() -> dict[str, object]:
    """Compiler, build type, CUDA version and architectures (or None), and the instruction set in use."""
    return dict(extension().build_info())


def call(op: str, tensor: Tensor, **arguments: object) -> None:
    """Call the entry point of `op` for the device of `tensor`: `<op>_cpu` with threads, or `<op>_cuda` with a stream.

    Every entry point also takes the dtype name of `tensor`. The caller has made the device of `tensor` the current one.
    """
    dtype = str(tensor.dtype).removeprefix("torch.")
    if tensor.is_cuda:
        stream = torch.cuda.current_stream(tensor.device).cuda_stream
        getattr(extension(), f"{op}_cuda")(**arguments, dtype=dtype, stream=stream)
    else:
        getattr(extension(), f"{op}_cpu")(**arguments, dtype=dtype, threads=torch.get_num_threads())
