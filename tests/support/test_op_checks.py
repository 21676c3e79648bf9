"""The shared op checks pass on a sound toy op and fail on each broken one."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch.autograd.gradcheck import GradcheckError

from tests.support import op_checks
from tests.support.op_call import Case, OpCall
from tests.support.op_checks import backend_cases, backend_names, skip_reason

CPU32 = Case("native", "cpu", torch.float32)


class Scaled(NamedTuple):
    value: Tensor
    positive: Tensor


def scale(x: Tensor, factor: Tensor, *, backend: str | None = None) -> Scaled:
    value = x * factor
    return Scaled(value, value > 0)


class WrongGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> Tensor:
        return grad * 3


@pytest.fixture
def call() -> OpCall:
    tensors = {"x": torch.randn(3, 4), "factor": torch.randn(3, 4)}
    return OpCall("affine_warp", scale, tensors, gradients=("x", "factor"))


def test_a_sound_op_passes_every_check(call: OpCall) -> None:
    assert op_checks.check_agreement(call, CPU32) <= 1
    op_checks.check_gradients(call, "native")
    op_checks.check_compiles(call, CPU32)
    op_checks.check_deterministic(call, CPU32)
    op_checks.check_strides(call, CPU32)


def test_results_are_named(call: OpCall) -> None:
    assert call.run("native").keys() == {"value", "positive", "grad_x", "grad_factor"}


def test_agreement_sees_a_wrong_value(call: OpCall) -> None:
    def off(x: Tensor, factor: Tensor, *, backend: str) -> Tensor:
        return x * factor * (1.001 if backend == "native" else 1.0)

    with pytest.raises(AssertionError, match="output: "):
        op_checks.check_agreement(dataclasses.replace(call, function=off), CPU32)


def test_agreement_sees_a_wrong_flag(call: OpCall) -> None:
    def flipped(x: Tensor, factor: Tensor, *, backend: str) -> Scaled:
        sound = scale(x, factor)
        return sound._replace(positive=sound.positive ^ (backend == "native"))

    with pytest.raises(AssertionError, match="positive: a share of 1"):
        op_checks.check_agreement(dataclasses.replace(call, function=flipped), CPU32)


def test_agreement_sees_a_wrong_gradient(call: OpCall) -> None:
    def wrong(x: Tensor, factor: Tensor, *, backend: str) -> Tensor:
        return (WrongGradient.apply(x) if backend == "native" else x * 2) + factor

    with pytest.raises(AssertionError, match="grad_x: "):
        op_checks.check_agreement(dataclasses.replace(call, function=wrong), CPU32)


def test_gradcheck_sees_a_wrong_gradient(call: OpCall) -> None:
    def wrong(x: Tensor, factor: Tensor, *, backend: str) -> Tensor:
        return WrongGradient.apply(x) + factor

    with pytest.raises(GradcheckError):
        op_checks.check_gradients(dataclasses.replace(call, function=wrong), "native")


def test_compile_sees_a_graph_break(call: OpCall) -> None:
    def reads_a_value(x: Tensor, factor: Tensor, *, backend: str) -> Tensor:
        return x * factor if float(x.detach().sum()) > -1e9 else x

    with pytest.raises(Exception, match=r"(?i)graph break|data-dependent|unsupported"):
        op_checks.check_compiles(dataclasses.replace(call, function=reads_a_value), CPU32)


def test_determinism_sees_noise(call: OpCall) -> None:
    def noisy(x: Tensor, factor: Tensor, *, backend: str) -> Tensor:
        return x * factor + 1e-6 * torch.rand(())

    with pytest.raises(AssertionError, match="differs between two runs"):
        op_checks.check_deterministic(dataclasses.replace(call, function=noisy), CPU32)


def test_strides_sees_a_misread_layout(call: OpCall) -> None:
    def by_storage(x: Tensor, factor: Tensor, *, backend: str) -> Tensor:
        return x.as_strided(x.shape, (x.shape[1], 1)) * factor

    with pytest.raises(AssertionError, match="depends on the strides"):
        op_checks.check_strides(dataclasses.replace(call, function=by_storage), CPU32)


def test_half_precision_moves_all_but_wide_and_integer_tensors(call: OpCall) -> None:
    tensors = {**call.tensors, "index": torch.arange(3)}
    moved = dataclasses.replace(call, tensors=tensors, wide=("factor",)).to("cpu", torch.bfloat16).tensors
    assert [moved[name].dtype for name in ("x", "factor", "index")] == [
        torch.bfloat16,
        torch.float32,
        torch.int64,
    ]


def test_cases_skip_a_missing_gpu_with_a_reason_but_never_a_broken_build(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("refkp._native.missing_reason", lambda: "broken build")
    assert skip_reason(Case("native", "cuda", torch.float32)) == "needs a CUDA device (none visible)"
    assert skip_reason(CPU32) is None
    assert [parameter.values for parameter in backend_names()] == [("native",), ("triton",), ("reference",)]
    assert not backend_names("native")[0].marks
    names = [parameter.id for parameter in backend_cases(reference=True)]
    assert len(names) == len(set(names))
    assert {"native-cpu-float64", "triton-cuda-bfloat16", "reference-cpu-float64"} <= set(names)
