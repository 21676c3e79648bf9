"""The one table of tolerances: how far a backend may be from the float64 reference, by op, backend and dtype.

An element passes when |got - want| <= rtol * |want| + atol * max|want|: `atol` is relative to the largest
wanted value of its array, so one entry serves outputs of order one and gradients that sum over thousands of
pixels. The comment of an entry names the measured worst error / allowed of its op's tests; it is raised only
with a reason.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Tolerance(NamedTuple):
    rtol: float
    atol: float  # relative to the largest wanted value of the array


# fmt: off
TOLERANCES: dict[tuple[str, str, torch.dtype], Tolerance] = {
    # ------------------------------------------------------------------------------------ affine_warp
    ("affine_warp", "native", torch.float64): Tolerance(1e-10, 1e-12),
    ("affine_warp", "native", torch.float32): Tolerance(1e-5, 1e-5),
    ("affine_warp", "native", torch.float16): Tolerance(2e-3, 1e-3),
    ("affine_warp", "native", torch.bfloat16): Tolerance(1.6e-2, 8e-3),
    ("affine_warp", "triton", torch.float32): Tolerance(1e-5, 1e-5),
    ("affine_warp", "triton", torch.float16): Tolerance(2e-3, 1e-3),
    ("affine_warp", "triton", torch.bfloat16): Tolerance(1.6e-2, 8e-3),

    # ------------------------------------------------------------------------------------ equivariance_loss
    ("equivariance_loss", "native", torch.float64): Tolerance(1e-10, 1e-12),
    ("equivariance_loss", "native", torch.float32): Tolerance(1e-5, 1e-5),
    ("equivariance_loss", "native", torch.float16): Tolerance(2e-3, 1e-3),
    ("equivariance_loss", "native", torch.bfloat16): Tolerance(1.6e-2, 8e-3),
    ("equivariance_loss", "triton", torch.float32): Tolerance(1e-5, 1e-5),
    ("equivariance_loss", "triton", torch.float16): Tolerance(2e-3, 1e-3),
    ("equivariance_loss", "triton", torch.bfloat16): Tolerance(1.6e-2, 8e-3),

    # ------------------------------------------------------------------------------------ e2p
    # Measured worst error / allowed on CPU: float64 0.001, float32 0.12, triton float32 0.12 (interpreter).
    ("e2p", "native", torch.float64): Tolerance(1e-10, 1e-12),
    ("e2p", "native", torch.float32): Tolerance(1e-5, 1e-5),
    ("e2p", "native", torch.float16): Tolerance(2e-3, 1e-3),
    ("e2p", "native", torch.bfloat16): Tolerance(1.6e-2, 8e-3),
    ("e2p", "triton", torch.float32): Tolerance(1e-5, 1e-5),
    ("e2p", "triton", torch.float16): Tolerance(2e-3, 1e-3),
    ("e2p", "triton", torch.bfloat16): Tolerance(1.6e-2, 8e-3),

    # ------------------------------------------------------------------------------------ camera_warp
    # Measured worst error / allowed on CPU: native 0.006 (float64), 0.39 (float32); triton 0.39 (float32, interpreter).
    ("camera_warp", "native", torch.float64): Tolerance(1e-10, 1e-12),
    ("camera_warp", "native", torch.float32): Tolerance(1e-5, 1e-5),
    ("camera_warp", "native", torch.float16): Tolerance(2e-3, 1e-3),
    ("camera_warp", "native", torch.bfloat16): Tolerance(1.6e-2, 8e-3),
    ("camera_warp", "triton", torch.float32): Tolerance(1e-5, 1e-5),
    ("camera_warp", "triton", torch.float16): Tolerance(2e-3, 1e-3),
    ("camera_warp", "triton", torch.bfloat16): Tolerance(1.6e-2, 8e-3),

    # ------------------------------------------------------------------------------------ vicreg
    # Worst error / allowed on the CPU: native 0.004 (float64), 0.16 (float32); triton 0.06 (float32).
    # Half precision runs on CUDA alone: storage rounding of the gradients.
    ("vicreg", "native", torch.float64): Tolerance(1e-12, 1e-13),
    ("vicreg", "native", torch.float32): Tolerance(2e-6, 2e-6),
    ("vicreg", "native", torch.float16): Tolerance(2e-3, 1e-3),
    ("vicreg", "native", torch.bfloat16): Tolerance(1.6e-2, 8e-3),
    ("vicreg", "triton", torch.float32): Tolerance(2e-6, 2e-6),
    ("vicreg", "triton", torch.float16): Tolerance(2e-3, 1e-3),
    ("vicreg", "triton", torch.bfloat16): Tolerance(1.6e-2, 8e-3),

    # ------------------------------------------------------------------------------------ flow_gt
    ("flow_gt", "native", torch.float64): Tolerance(1e-10, 1e-12),
    ("flow_gt", "native", torch.float32): Tolerance(1e-5, 1e-5),
    ("flow_gt", "native", torch.float16): Tolerance(2e-3, 1e-3),
    ("flow_gt", "native", torch.bfloat16): Tolerance(1.6e-2, 8e-3),
    ("flow_gt", "triton", torch.float32): Tolerance(1e-5, 1e-5),
    ("flow_gt", "triton", torch.float16): Tolerance(2e-3, 1e-3),
    ("flow_gt", "triton", torch.bfloat16): Tolerance(1.6e-2, 8e-3),
}
# fmt: on


def tolerance(op: str, backend: str, dtype: torch.dtype) -> Tolerance:
    """The entry of the table; the reference is judged as native is in the same dtype."""
    if backend == "reference":
        backend = "native"
    return TOLERANCES[op, backend, dtype]


def error_ratio(got: Tensor, want: Tensor, limit: Tolerance) -> Tensor:
    """Error / allowed error of each element; above 1 fails. A NaN or infinity agrees only with itself."""
    got, want = got.detach().cpu().double(), want.detach().cpu().double()
    finite = want[torch.isfinite(want)].abs()
    scale = float(finite.max()) if finite.numel() and finite.max() > 0 else 1.0
    ratio = (got - want).abs() / (limit.rtol * want.abs() + limit.atol * scale)
    same = (got == want) | (got.isnan() & want.isnan())
    return torch.where(same, 0.0, ratio.nan_to_num(nan=torch.inf, posinf=torch.inf))


def assert_close(name: str, got: Tensor, want: Tensor, limit: Tolerance, *, outliers: float = 0.0) -> float:
    """Raise AssertionError unless all but a share `outliers` of the elements are within `limit`.

    `outliers` is for results with discontinuities (an occlusion edge, an image border), where rounding may
    pick the other side; it is 0 for anything smooth. Returns the worst error / allowed of the elements that
    pass.
    """
    assert got.shape == want.shape, f"{name}: shape {tuple(got.shape)}, wanted {tuple(want.shape)}"
    if got.numel() == 0:
        return 0.0
    ratio = error_ratio(got, want, limit)
    failed = ratio > 1
    if failed.double().mean() > outliers:
        at = int(ratio.argmax())
        index = tuple(int(i) for i in torch.unravel_index(torch.tensor(at), got.shape))
        raise AssertionError(
            f"{name}: {int(failed.sum())} of {got.numel()} elements out of tolerance (allowed: {outliers}); "
            f"worst at {index}: got {got.flatten()[at].item()!r}, wanted {want.flatten()[at].item()!r}, "
            f"{float(ratio.max()):.3g} times the allowed error ({limit})"
        )
    return float(ratio[~failed].max()) if bool((~failed).any()) else 0.0
