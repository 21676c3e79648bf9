"""Random calls of every op: they agree with the reference whatever the number of threads, or say what is wrong."""

from __future__ import annotations

import dataclasses
import random

import pytest
import torch
from torch import Tensor

from refkp.ops import OPS
from tests.fuzz.ops.draws import Sample
from tests.fuzz.ops.pictures import random_picture
from tests.fuzz.ops.scenes import random_flow
from tests.fuzz.ops.segments import random_segments
from tests.fuzz.ops.tiles import random_tiles
from tests.fuzz.ops.warps import random_loss, random_warp
from tests.fuzz.seeds import each_seed
from tests.support.flow_scenes import borderline
from tests.support.op_call import OpCall
from tests.support.tolerances import Tolerance, assert_close, tolerance

SAMPLES = {
    "affine_warp": random_warp,
    "equivariance_loss": random_loss,
    "e2p": random_tiles,
    "vicreg": random_segments,
    "flow_gt": random_flow,
    "camera_warp": random_picture,
}
#: What an op may raise: the caller's fault, a wrong type, our limit.
ERRORS = (ValueError, TypeError, NotImplementedError)
#: Over the table of tolerances, whose scenes are well-conditioned: by chance, sums of large terms come out small.
SLACK = 10
#: Pixels of a call without general place that may fall on the other side of an edge.
OUTLIERS = 0.05


def test_every_op_has_calls() -> None:
    assert tuple(SAMPLES) == OPS


@pytest.mark.parametrize("op", OPS)
def test_random_calls(op: str) -> None:
    threads = torch.get_num_threads()
    try:
        each_seed(op, lambda rng: check(SAMPLES[op](rng), rng))
    finally:
        torch.set_num_threads(threads)


def check(sample: Sample, rng: random.Random) -> None:
    call = sample.call
    wanted = tuple(name for name in call.gradients if call.tensors[name].is_floating_point())
    call = dataclasses.replace(call, gradients=wanted)
    torch.set_num_threads(rng.randint(1, 8))
    try:
        got = call.run("native")
    except ERRORS as error:
        check_error(call, error)
        return
    torch.set_num_threads(rng.randint(1, 8))
    for name, value in call.run("native").items():
        assert bits(value) == bits(got[name]), f"{name} depends on the number of threads"
    torch.set_num_threads(1)
    compare(sample._replace(call=call), got)


def check_error(call: OpCall, error: Exception) -> None:
    """It names the op, and the reference makes the same of it, but for what only the kernels cannot do."""
    assert str(error).startswith(f"{call.op}: "), f"unclear: {type(error).__name__}: {error}"
    if isinstance(error, NotImplementedError):
        return
    with pytest.raises(type(error)) as of_reference:
        call.run("reference")
    assert str(of_reference.value) == str(error)


def compare(sample: Sample, got: dict[str, Tensor]) -> None:
    call = sample.call
    wide = call if call.op == "flow_gt" else call.to("cpu", torch.float64)
    want = wide.run("reference")
    assert got.keys() == want.keys()
    unsure, computed = None, torch.promote_types(next(iter(call.tensors.values())).dtype, torch.float32)
    for name, value in want.items():
        if call.op == "camera_warp" and not value.is_floating_point():  # bytes, rounded
            beyond = (got[name].int() - value.int()).abs() > 1
            assert int(beyond.sum()) <= OUTLIERS * beyond.numel(), f"{name} differs by more than rounding"
        elif not value.is_floating_point():
            differs = got[name] != value
            if bool(differs.any()):
                unsure = borderline(call.tensors, **call.options) if unsure is None else unsure
                assert not bool((differs & ~unsure).any()), f"{name} differs away from every edge"
        elif name == "grad_theta" and sample.discontinuous:
            assert value.isfinite().equal(
                got[name].isfinite()
            )  # a sum over pixels beside kinks of the surface
        elif not sample.exact or not name.startswith("grad_"):
            limit = max(tolerance(call.op, "native", dtype) for dtype in (got[name].dtype, computed))
            limit = Tolerance(SLACK * limit.rtol, max(SLACK * limit.atol, 1e-13 * sample.conditioning))
            assert_close(name, got[name], value, limit, outliers=OUTLIERS if sample.discontinuous else 0.0)
        else:  # a derivative of what is not finite may be NaN or infinite
            assert torch.equal(got[name].isfinite(), value.isfinite()), f"{name} is not finite elsewhere"


def bits(value: Tensor) -> bytes:
    """So that NaNs compare equal to themselves, and -0 differs from 0."""
    return value.detach().numpy().tobytes()


def test_a_failure_names_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFKP_FUZZ_FIRST", "7")
    monkeypatch.setenv("REFKP_FUZZ_CALLS", "2")
    broken = dataclasses.replace(SAMPLES["vicreg"](random.Random(1)).call, function=lambda **_: 1 / 0)

    def call(rng: random.Random) -> None:
        broken.run("native")

    with pytest.raises(
        AssertionError, match=r"vicreg, seed 7 .*REFKP_FUZZ_FIRST=7 REFKP_FUZZ_CALLS=1.*ZeroDivision"
    ):
        each_seed("vicreg", call)
