"""The checks that every op passes, as small functions over one description of a call.

CALL = OpCall("affine_warp", affine_warp, {"image": image, "theta": theta}, gradients=("image", "theta"))

@pytest.mark.parametrize("case", backend_cases())
def test_agrees_with_the_reference(case: Case) -> None:
    check_agreement(CALL, case)
"""

from __future__ import annotations

import dataclasses
import itertools
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor

from refkp.ops._backends import BACKENDS, unsupported_reason
from tests.support.op_call import Case, OpCall
from tests.support.tolerances import assert_close, tolerance

_CPU_NATIVE = (torch.float32, torch.float64)
_HALF = (torch.float32, torch.float16, torch.bfloat16)


def leave_theta_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the affine ops treat CPU tensors as they treat CUDA tensors, whose theta is not read."""
    for op, part in itertools.product(("affine_warp", "equivariance_loss"), ("library", "reference")):
        module = import_module(f"refkp.ops.{op}.{part}")
        monkeypatch.setattr(module, "check_theta_values", lambda *_: None)


def backend_cases(*, reference: bool = False) -> list[Any]:
    """Every (backend, device, dtype) as pytest parameters; one that cannot run here is skipped with a reason.

    A native extension that is missing on CPU is not skipped: a broken build must fail.
    """
    cases = [Case("native", "cpu", dtype) for dtype in _CPU_NATIVE]
    cases += [Case("triton", "cpu", torch.float32)]
    cases += [Case(backend, "cuda", dtype) for backend in ("native", "triton") for dtype in _HALF]
    if reference:
        cases += [Case("reference", device, torch.float64) for device in ("cpu", "cuda")]
    return [_parameter(case) for case in cases]


def cases_of(*backends: str, dtype: torch.dtype = torch.float32) -> list[Any]:
    """The cases of `backends` on CPU and CUDA in one dtype: for tests that need no dtype of their own."""
    return [_parameter(Case(backend, device, dtype)) for backend in backends for device in ("cpu", "cuda")]


def backend_names(*backends: str) -> list[Any]:
    """The names of `backends` (default: all) for tests on CPU in float32; without triton its tests are skipped."""
    return [
        pytest.param(name, marks=[pytest.mark.skip(reason=reason)] if reason else [])
        for name in backends or BACKENDS
        for reason in [skip_reason(Case(name, "cpu", torch.float32))]
    ]


def _parameter(case: Case) -> Any:
    reason = skip_reason(case)
    name = f"{case.backend}-{case.device}-{str(case.dtype).removeprefix('torch.')}"
    return pytest.param(case, id=name, marks=[pytest.mark.skip(reason=reason)] if reason else [])


def skip_reason(case: Case) -> str | None:
    """Why a case cannot run on this machine, or None."""
    if case.device == "cuda" and not torch.cuda.is_available():
        return "needs a CUDA device (none visible)"
    if case.backend == "native" and case.device == "cpu":
        return None
    return unsupported_reason(case.backend, torch.device(case.device), case.dtype)


def check_agreement(call: OpCall, case: Case, *, outliers: float = 0.0) -> float:
    """Outputs and gradients agree with the float64 reference on CPU, given the same rounded inputs.

    Outputs that are not floating point must be equal, but for the share `outliers`. Returns the worst
    error / allowed.
    """
    there = call.to(case.device, case.dtype)
    got = there.run(case.backend)
    want = there.to("cpu", torch.float64).run("reference")
    assert got.keys() == want.keys()
    worst = 0.0
    for name, value in want.items():
        if value.is_floating_point():
            limit = tolerance(call.op, case.backend, case.dtype)
            worst = max(worst, assert_close(name, got[name], value, limit, outliers=outliers))
        else:
            share = (got[name].cpu() != value).double().mean().item() if value.numel() else 0.0
            assert share <= outliers, f"{name}: a share of {share:.3g} differs, allowed {outliers}"
    return worst


def check_gradients(call: OpCall, backend: str, device: str = "cpu") -> None:
    """Gradients match finite differences in float64 (torch.autograd.gradcheck)."""
    there = call.to(device, torch.float64)
    leaves = tuple(there.tensors[name].detach().requires_grad_() for name in call.gradients)

    def smooth_outputs(*values: Tensor) -> tuple[Tensor, ...]:
        outputs = there.outputs(backend, **dict(zip(call.gradients, values, strict=True)))
        return tuple(value for value in outputs.values() if value.requires_grad)

    assert torch.autograd.gradcheck(smooth_outputs, leaves, nondet_tol=0.0)


def check_registration(operator: Any, arguments: tuple[Any, ...], **options: Any) -> None:
    """The operator's schema, fake implementation and autograd registration hold (torch.library.opcheck)."""
    torch.library.opcheck(operator, arguments, options)


def check_compiles(call: OpCall, case: Case) -> None:
    """The call traces without a graph break, and gives the eager outputs and gradients."""
    there = call.to(case.device, case.dtype)
    eager = there.run(case.backend)
    torch._dynamo.reset()
    compiled = torch.compile(there.function, fullgraph=True, backend="aot_eager")
    got = dataclasses.replace(there, function=compiled).run(case.backend)
    for name, want in eager.items():
        torch.testing.assert_close(got[name], want, msg=lambda text, name=name: f"{name}: {text}")


def check_deterministic(call: OpCall, case: Case, repeats: int = 3) -> None:
    """Repeated forward and backward passes are equal bit by bit."""
    there = call.to(case.device, case.dtype)
    first = there.run(case.backend)
    for _ in range(repeats - 1):
        for name, value in there.run(case.backend).items():
            assert torch.equal(_bits(value), _bits(first[name])), f"{name} differs between two runs of {case}"


def check_strides(call: OpCall, case: Case) -> None:
    """Inputs that are not contiguous give exactly the results of their contiguous copies."""
    there = call.to(case.device, case.dtype)
    wanted = there.run(case.backend)
    for stored in (_spread, _with_gaps):
        tensors = {name: stored(tensor) for name, tensor in there.tensors.items()}
        got = dataclasses.replace(there, tensors=tensors).run(case.backend)
        for name, want in wanted.items():
            assert torch.equal(_bits(got[name]), _bits(want)), (
                f"{name} depends on the strides of the inputs in {case}"
            )


def _spread(tensor: Tensor) -> Tensor:
    """The same values, strided: every second element of a buffer with the last two dimensions swapped."""
    if tensor.dim() < 2:
        return torch.stack([tensor, tensor], dim=-1)[..., 0]
    return torch.stack([tensor, tensor], dim=-1).transpose(-3, -2).contiguous().transpose(-3, -2)[..., 0]


def _with_gaps(tensor: Tensor) -> Tensor:
    """The same values with a gap behind each row."""
    return torch.cat([tensor, tensor], dim=-1)[..., : tensor.shape[-1]] if tensor.dim() else tensor


def _bits(tensor: Tensor) -> Tensor:
    """The bytes, so that NaNs compare equal to themselves and -0 differs from 0."""
    return tensor.contiguous().flatten().view(torch.uint8) if tensor.numel() else tensor
