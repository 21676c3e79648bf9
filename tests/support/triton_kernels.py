"""Compile every Triton kernel of refkp.ops for sm_90, without a GPU: `python triton_kernels.py`.

The launches of real calls are recorded instead of run, and compiled to machine code. The interpreter that the other
tests use accepts programs that the compiler refuses; it must be off here, so this is a program of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

_TARGET = GPUTarget("cuda", 90, 32)
_TYPES = {
    torch.float32: "fp32",
    torch.float64: "fp64",
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.int64: "i64",
    torch.uint8: "u8",
}


def main() -> None:
    """Compile each kernel that the calls launch once for every set of argument types."""
    compiled: set[str] = set()

    def compile_instead(kernel: Any, *args: Any, grid: Any, warmup: bool, **constants: Any) -> None:
        source = _source(kernel, dict(zip(kernel.arg_names, args, strict=False)), constants)
        if source.hash() not in compiled:
            compiled.add(source.hash())
            print(kernel.__name__, *source.signature.values(), flush=True)
            triton.compile(source, target=_TARGET)

    triton.runtime.jit.JITFunction.run = compile_instead
    for dtype in (torch.float32, torch.bfloat16):
        for op, direction, arguments in _calls(dtype):
            getattr(import_module(f"refkp.ops.{op}.triton"), direction)(*arguments)


def _source(kernel: Any, args: dict[str, Any], constants: dict[str, Any]) -> ASTSource:
    """What Triton would compile for a launch: numbers equal to one become constants, as at run time."""
    ones = {name: value for name, value in args.items() if type(value) is int and value == 1}
    types = {name: _type(value) for name, value in args.items() if name not in ones}
    fixed = ones | constants
    signature = {name: types.get(name, "constexpr") for name in kernel.arg_names}
    aligned = {(i,): [["tt.divisibility", 16]] for i, kind in enumerate(signature.values()) if kind[0] == "*"}
    return ASTSource(kernel, signature, fixed, aligned)


def _type(value: Any) -> str:
    if isinstance(value, Tensor):
        return "*" + _TYPES[value.dtype]
    return "fp32" if isinstance(value, float) else "i32"


def _calls(dtype: torch.dtype) -> Iterator[tuple[str, str, tuple[Any, ...]]]:
    """Op, "forward" or "backward", and the arguments of its Triton module; a second set has sizes of one."""
    for batch, channels, size in ((2, 3, (6, 8)), (1, 1, (1, 1))):
        images = torch.zeros(batch, channels, *size, dtype=dtype)
        theta = torch.eye(3, dtype=torch.float64)[:2].repeat(batch, 1, 1)
        yield "affine_warp", "forward", (images, theta, size, False, ())
        gradient = import_module("refkp.ops.affine_warp.arguments").WarpGradient
        yield "affine_warp", "backward", (gradient(images, images, theta, False, (), True, True),)
        for coverage in (False, True):
            yield "equivariance_loss", "forward", (images, images, theta, coverage)
            yield "equivariance_loss", "backward", (theta[:, 0, 0], images, images, theta, coverage)
        yield from _flow_calls(images)
        camera = torch.ones(batch, 22, dtype=torch.float64)
        for picture in (images, images.to(torch.uint8)):
            yield (
                "camera_warp",
                "forward",
                (picture, camera, (5, 7), dtype == torch.float32, [0.0] * channels),
            )
        yield "camera_warp", "backward", (images, camera, (5, 7), dtype == torch.float32)
    yield from _e2p_calls(images.expand(1, 1, 4, 8))
    for rows, dim in ((3, 70), (70, 3), (1, 1)):
        x, weights = torch.zeros(rows, dim, dtype=dtype), torch.ones(3, 1)
        yield "vicreg", "forward", (x, x, None, 1.0, 1e-4, True)
        yield "vicreg", "backward", (x, x, None, weights, 1.0, 1e-4, True)


def _flow_calls(images: Tensor) -> Iterator[tuple[str, str, tuple[Any, ...]]]:
    batch, targets = images.shape[:2]
    K = torch.eye(3, dtype=torch.float64).expand(batch, targets, 3, 3)
    pose, on = torch.eye(4, dtype=torch.float64).expand(batch, targets, 4, 4), images == 0
    arguments = import_module("refkp.ops.flow_gt.arguments")
    cameras, tolerances = (images[:, 0], K[:, 0], images, K, pose), (0.5, 0.0, 2.0, 0.5)
    masked, bare = arguments.Scene(*cameras, on[:, 0], on), arguments.Scene(*cameras, None, None)
    for rule in ("nearest", "quad", "bilinear_relative"):
        yield "flow_gt", "forward", (masked, arguments.Judgement(rule, *tolerances))
    yield "flow_gt", "forward", (bare, arguments.Judgement("nearest_twosided", *tolerances))


def _e2p_calls(erp: Tensor) -> Iterator[tuple[str, str, tuple[Any, ...]]]:
    rays, one = torch.eye(3, dtype=torch.float64)[None], torch.ones(1, dtype=torch.int64)
    grid, tile = rays.new_ones(1, 4), erp.new_zeros(1, 1, 5, 7)
    for levels, equilib, nearest in ((0, False, False), (0, True, True), (2, False, False)):
        cameras = import_module("refkp.ops.e2p.camera").Cameras(rays, grid, one, one - 1, levels, (3.5, 3.5))
        yield "e2p", "forward", (erp, cameras, (5, 7), equilib, nearest)
        yield "e2p", "forward", (erp.to(torch.uint8), cameras, (5, 7), equilib, nearest)
        yield "e2p", "backward", (tile, cameras, tuple(erp.shape), equilib, nearest)


if __name__ == "__main__":
    main()
