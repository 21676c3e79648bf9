"""Error messages with one form: the function and argument, the rule, what came, and the remedy.

Specs and commands import this without torch, so that `--help` does not wait for it.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def floating() -> tuple[torch.dtype, ...]:
    """The element types that an op computes with."""
    import torch

    return torch.float32, torch.float64, torch.float16, torch.bfloat16


def fail(function: str, argument: str, rule: str, got: object, remedy: str = "") -> NoReturn:
    """Raise ValueError, e.g. "affine_warp: `theta` must be [B,2,3]; got [3,3]. <remedy>"."""
    raise ValueError(
        f"{function}: `{argument}` must be {rule}; got {got}." + (f" {remedy}" if remedy else "")
    )


def shape_text(shape: Sequence[object]) -> str:
    """A shape as written in docstrings: [4,3,320,320]."""
    return "[" + ",".join(str(size) for size in shape) + "]"


def require_input(
    function: str,
    argument: str,
    tensor: Tensor,
    pattern: str,
    dtypes: Sequence[torch.dtype] | None = None,
    **sizes: int,
) -> None:
    """Raise unless `tensor` is a tensor of the shape of `pattern` (as in `require_shape`) and one of `dtypes`.

    Without `dtypes`: one of `floating()`.
    """
    require_tensor(function, argument, tensor)
    require_shape(function, argument, tensor, pattern, **sizes)
    require_dtype(function, argument, tensor, floating() if dtypes is None else dtypes)


def require_tensor(function: str, argument: str, value: object) -> None:
    """Raise TypeError unless `value` is a tensor."""
    from torch import Tensor

    if not isinstance(value, Tensor):
        raise TypeError(f"{function}: `{argument}` must be a torch.Tensor; got {type(value).__name__}.")


def require_shape(function: str, argument: str, tensor: Tensor, pattern: str, **sizes: int) -> None:
    """Raise ValueError unless `tensor` has the shape of `pattern`, a comma list of names and numbers.

    Names found in `sizes` and numbers must match; other names stand for any size, zero included.

    >>> import torch
    >>> require_shape("f", "theta", torch.zeros(4, 2, 3), "B,2,3", B=4)
    """
    names = pattern.split(",")
    wanted = [sizes.get(name, int(name) if name.isdigit() else None) for name in names]
    matches = tensor.dim() == len(names) and all(
        want is None or size == want for size, want in zip(tensor.shape, wanted, strict=True)
    )
    if not matches:
        known = ", ".join(f"{name}={size}" for name, size in sizes.items() if name in names)
        fail(
            function, argument, f"[{pattern}]" + (f" with {known}" if known else ""), shape_text(tensor.shape)
        )


def require_trailing(function: str, argument: str, tensor: Tensor, pattern: str) -> None:
    """Raise ValueError unless the last axes of `tensor` have the sizes of `pattern`; leading axes are free.

    Numbers must match, names stand for any size.

    >>> import torch
    >>> require_trailing("f", "R", torch.zeros(7, 5, 3), "N,3")
    """
    names = pattern.split(",")
    trailing = zip(tensor.shape[-len(names) :], names, strict=False)
    sizes = [str(size) if name.isdigit() else name for size, name in trailing]
    if sizes != names:
        fail(function, argument, f"[...,{pattern}]", shape_text(tensor.shape))


def require_dtype(function: str, argument: str, tensor: Tensor, allowed: Sequence[torch.dtype]) -> None:
    """Raise ValueError unless the element type of `tensor` is one of `allowed`."""
    if tensor.dtype not in allowed:
        names = ", ".join(str(dtype).removeprefix("torch.") for dtype in allowed)
        fail(function, argument, f"of dtype {names}", str(tensor.dtype).removeprefix("torch."))


def require_same(
    function: str, argument: str, tensor: Tensor, other: str, like: Tensor, *, dtype: bool = True
) -> None:
    """Raise ValueError unless `tensor` is on the device, and by default of the dtype, of `like` (argument `other`)."""
    if tensor.device != like.device:
        fail(
            function,
            argument,
            f"on the device of `{other}` ({like.device})",
            tensor.device,
            "Move it with `.to()`.",
        )
    if dtype and tensor.dtype != like.dtype:
        fail(
            function,
            argument,
            f"of the dtype of `{other}` ({like.dtype})",
            tensor.dtype,
            "Convert it with `.to()`.",
        )


def require_finite(function: str, argument: str, tensor: Tensor) -> None:
    """Raise ValueError unless every element of `tensor` is finite. Reads the values: call it on small CPU tensors."""
    import torch

    if not bool(torch.isfinite(tensor).all()):
        bad = int((~torch.isfinite(tensor)).sum())
        fail(function, argument, "finite", f"{bad} of {tensor.numel()} elements NaN or infinite")


def number(function: str, argument: str, value: object) -> float:
    """`value` as a float: a number of Python, of NumPy or of a traced program, or a tensor or array of no dimension.

    Raises ValueError for anything else, text included.

    >>> import numpy as np
    >>> number("f", "gamma", np.float32(0.5))
    0.5
    """
    if isinstance(value, (float, int)):  # one that is traced stays symbolic
        return value * 1.0
    import torch

    if torch.compiler.is_compiling():
        kind = "a number of Python inside torch.compile"
        fail(function, argument, kind, type(value).__name__, "Take its `.item()` outside.")
    if isinstance(value, (str, bytes)) or getattr(value, "ndim", 0) != 0:
        fail(function, argument, "a number", repr(value))
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        fail(function, argument, "a number", repr(value))


def height_and_width(function: str, argument: str, value: object) -> tuple[int, int]:
    """`value` as (height, width): two whole numbers of Python, NumPy or a traced program, or integer tensors.

    Raises ValueError for anything else.
    """
    try:
        height, width = value if isinstance(value, Iterable) else ()
        return _whole(height), _whole(width)
    except (TypeError, ValueError):
        fail(function, argument, "(height, width)", value)


def _whole(value: object) -> int:
    return value if isinstance(value, int) else operator.index(value)  # type: ignore[arg-type]


def refuse_tangents(function: str, remedy: str, **tensors: Tensor | None) -> None:
    """Raise NotImplementedError if a tensor carries a tangent (`torch.func.jvp`, `torch.autograd.forward_ad`).

    Custom ops of torch have no forward mode, and would drop it in silence.
    """
    from torch.autograd import forward_ad

    for argument, tensor in tensors.items():
        if tensor is not None and forward_ad.unpack_dual(tensor).tangent is not None:
            raise NotImplementedError(
                f"{function}: `{argument}` carries a tangent, and there is no forward-mode derivative. {remedy}"
            )


def require_choice(function: str, argument: str, value: object, choices: Sequence[object]) -> None:
    """Raise ValueError unless `value` is one of `choices`."""
    if value not in choices:
        fail(function, argument, "one of " + ", ".join(repr(choice) for choice in choices), repr(value))
