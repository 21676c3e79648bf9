"""The compiled extension `refkp._C`: loading it, and why it may be missing."""

from __future__ import annotations

import functools
import importlib
from types import ModuleType

import torch
from torch import Tensor


@functools.cache
def _load() -> tuple[ModuleType | None, str]:
    try:
        return importlib.import_module("refkp._C"), ""
    except ImportError as error:
        return (
            None,
            f"the compiled extension refkp._C cannot be imported ({error}); reinstall refkp with a C++ compiler",
        )


def missing_reason() -> str | None:
    """Why the extension is unavailable, or None when it is there."""
    return _load()[1] or None


def extension() -> ModuleType:
    """The extension module. Raises ImportError with the reason and the remedy when it is missing."""
    module, reason = _load()
    if module is None:
        raise ImportError(reason)
    return module


def build_info() -> dict[str, object]:
    """Compiler, build type, CUDA version and architectures (or None), and the instruction set in use."""
    return dict(extension().build_info())


@functools.cache
def has_cuda_kernels() -> bool:
    """Whether the extension was compiled with the CUDA kernels."""
    return missing_reason() is None and build_info()["cuda"] is not None


def call(op: str, tensor: Tensor, **arguments: object) -> None:
    """Call the entry point of `op` for the device of `tensor`: `<op>_cpu` with threads, or `<op>_cuda` with a stream.

    Every entry point also takes the dtype name of `tensor`. CUDA entry points run on the tensor's own device.
    """
    dtype = str(tensor.dtype).removeprefix("torch.")
    if tensor.is_cuda:
        with torch.cuda.device(tensor.device):
            stream = torch.cuda.current_stream().cuda_stream
            getattr(extension(), f"{op}_cuda")(**arguments, dtype=dtype, stream=stream)
    else:
        getattr(extension(), f"{op}_cpu")(**arguments, dtype=dtype, threads=torch.get_num_threads())


def launch(tensor: Tensor) -> dict[str, object]:
    """The arguments that every entry point takes: dtype name and, by device, the threads or the CUDA stream."""
    arguments: dict[str, object] = {"dtype": str(tensor.dtype).removeprefix("torch.")}
    if tensor.is_cuda:
        arguments["stream"] = torch.cuda.current_stream(tensor.device).cuda_stream
    else:
        arguments["threads"] = torch.get_num_threads()
    return arguments
