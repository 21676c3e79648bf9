"""vicreg: agreement of the backends, gradients, registration, errors, laws, memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from refkp.ops import VICRegTerms, vicreg
from tests.support import op_checks
from tests.support.op_call import Case, OpCall
from tests.support.op_checks import backend_cases, backend_names, cases_of
from tests.support.scripts import run_script

NATIVE = [Case("native", "cpu", torch.float32), Case("native", "cpu", torch.float64)]


def bounds(*lengths: int) -> Tensor:
    return torch.tensor([0, *lengths]).cumsum(0)


def branches(rows: int, dim: int) -> dict[str, Tensor]:
    """Spreads on both sides of gamma, correlated columns, a mean off zero."""
    generator = torch.Generator().manual_seed(rows * 1000 + dim)
    x, y = torch.randn(2, rows, dim, generator=generator, dtype=torch.float64)
    spread = torch.linspace(0.3, 1.7, dim, dtype=torch.float64)
    return {"x": x * spread + 0.2 * x.sum(1, keepdim=True) / max(dim, 1) ** 0.5 + 1.5, "y": y * spread}


def call(*lengths: int, dim: int, **options: Any) -> OpCall:
    tensors = {**branches(sum(lengths), dim), "offsets": bounds(*lengths)}
    return OpCall("vicreg", vicreg, tensors, gradients=("x", "y"), options=options)


def whole(rows: int, dim: int, **options: Any) -> OpCall:
    return OpCall("vicreg", vicreg, branches(rows, dim), gradients=("x", "y"), options=options)


CALLS = {
    "ragged, empty and single rows": call(7, 1, 0, 5, 0, dim=13),
    "more rows than columns": call(31, 9, dim=5),
    "as many rows as columns": call(11, dim=11),
    "options": call(
        6, 4, dim=7, coefficients=(1.0, 2.0, 3.0), gamma=1.3, eps=1e-2, unbiased=False, covariance="mean"
    ),
    "one segment without offsets": whole(9, 17),
    "one row": whole(1, 3),
    "one column": call(4, 3, dim=1),
    "no segments": call(dim=5),
    "only empty segments": call(0, 0, dim=5),
    "no columns": call(2, 3, dim=0),
    "partial tiles of both routes": call(67, 41, dim=47),
}
LARGE = {  # several blocks, and segments that are cut among threads
    "rows beyond a block": call(101, 98, dim=203),
    "columns beyond a block": call(307, dim=197),
    "depth beyond a block": call(13, 500, dim=401),
    "many": call(*range(1, 40), dim=33),
    "one large": whole(500, 260),
}


@pytest.mark.parametrize("case", backend_cases())
@pytest.mark.parametrize("name", CALLS)
def test_agrees_with_the_reference(name: str, case: Case) -> None:
    op_checks.check_agreement(CALLS[name], case)


@pytest.mark.parametrize("case", [case for case in backend_cases() if case.values[0].backend == "native"])
@pytest.mark.parametrize("name", LARGE)
def test_large_segments_agree_with_the_reference(name: str, case: Case) -> None:
    op_checks.check_agreement(LARGE[name], case)


@pytest.mark.parametrize("isa", ["baseline", "avx2"])
def test_other_instruction_sets_agree_with_the_reference(isa: str) -> None:
    script = """
        import sys, torch
        from refkp import _native
        from tests.ops.test_vicreg import CALLS, LARGE, NATIVE, op_checks
        if _native.build_info()["isa"] != sys.argv[1]:
            sys.exit(2)
        for call in (*CALLS.values(), LARGE["rows beyond a block"], LARGE["columns beyond a block"]):
            for case in NATIVE:
                op_checks.check_agreement(call, case)
    """
    from refkp import _native

    if _native.build_info()["isa"] not in ("avx2", "avx512"):
        pytest.skip("this processor has the baseline instruction set alone")
    done = run_script(script, isa, REFKP_ISA=isa)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("backend", ["reference", "native"])
@pytest.mark.parametrize("lengths", [(4, 1, 0, 3), (7,)])
@pytest.mark.parametrize("options", [{}, {"unbiased": False, "covariance": "mean"}])
def test_gradients_match_finite_differences(
    options: dict[str, Any], lengths: tuple[int, ...], backend: str
) -> None:
    op_checks.check_gradients(call(*lengths, dim=5, **options), backend)


@pytest.mark.parametrize("case", cases_of("native", "triton"))
@pytest.mark.parametrize("term", VICRegTerms._fields)
@pytest.mark.parametrize("dim", [3, 12])
def test_every_single_term_has_its_gradient(dim: int, term: str, case: Case) -> None:
    there = call(7, 1, 4, dim=dim).to(case.device, case.dtype)

    def gradients(call_there: OpCall, backend: str) -> tuple[Tensor, ...]:
        leaves = {name: call_there.tensors[name].detach().requires_grad_() for name in ("x", "y")}
        value = call_there.outputs(backend, **leaves)[term]
        return torch.autograd.grad(value.sum(), list(leaves.values()))

    want = gradients(there.to("cpu", torch.float64), "reference")
    for got, wanted in zip(gradients(there, case.backend), want, strict=True):
        torch.testing.assert_close(got.cpu().double(), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("offsets", [None, bounds(3, 0, 4)])
def test_registration_holds(offsets: Tensor | None) -> None:
    x, y = (tensor.float().requires_grad_() for tensor in branches(7, 5).values())
    arguments = (x, y, offsets, 1.0, 1e-4, True, "native")
    op_checks.check_registration(torch.ops.refkp.vicreg.default, arguments)


@pytest.mark.parametrize("case", cases_of("native", "triton"))
@pytest.mark.parametrize("name", ["options", "one segment without offsets"])
def test_compiles(name: str, case: Case) -> None:
    op_checks.check_compiles(CALLS[name], case)


@pytest.mark.parametrize("case", backend_cases())
def test_repeats_bitwise(case: Case) -> None:
    op_checks.check_deterministic(CALLS["partial tiles of both routes"], case)


@pytest.mark.parametrize("case", NATIVE)
@pytest.mark.parametrize("name", LARGE)
def test_the_number_of_threads_changes_no_bit(name: str, case: Case) -> None:
    there, threads = LARGE[name].to(case.device, case.dtype), torch.get_num_threads()
    results = {}
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            results[count] = there.run("native")
    finally:
        torch.set_num_threads(threads)
    for count in (2, 5):
        for name_of, value in results[1].items():
            assert torch.equal(results[count][name_of], value), f"{name_of} with {count} threads"


@pytest.mark.parametrize("case", cases_of("native", "triton"))
def test_strides_do_not_matter(case: Case) -> None:
    op_checks.check_strides(CALLS["options"], case)


@pytest.mark.parametrize("case", backend_cases())
def test_ragged_is_a_loop_over_segments_in_any_order(case: Case) -> None:
    lengths = (5, 23, 1, 9)
    there = call(*lengths, dim=8).to(case.device, case.dtype)
    x, y = (there.tensors[name].split(lengths) for name in ("x", "y"))
    parts = [vicreg(a, b, backend=case.backend) for a, b in zip(x, y, strict=True)]
    order = [2, 0, 3, 1]
    moved = vicreg(
        torch.cat([x[p] for p in order]),
        torch.cat([y[p] for p in order]),
        bounds(*(lengths[p] for p in order)),
        backend=case.backend,
    )
    for name, value in there.outputs(case.backend).items():
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), value)
        assert torch.equal(getattr(moved, name), value[order])


@pytest.mark.parametrize("backend", backend_names())
def test_convention_sum_of_branches_and_half_of_the_variance(backend: str) -> None:
    x, y = (tensor.float() for tensor in branches(6, 4).values())
    both, xx, yy = (vicreg(*pair, backend=backend) for pair in ((x, y), (x, x), (y, y)))
    torch.testing.assert_close(both.covariance, (xx.covariance + yy.covariance) / 2)
    torch.testing.assert_close(both.variance, (xx.variance + yy.variance) / 2)
    own = torch.relu(1 - torch.sqrt(x.var(0) + 1e-4)).mean()
    torch.testing.assert_close(xx.variance[0], own)
    covariance = x.T.cov() - torch.diag(x.var(0))
    torch.testing.assert_close(xx.covariance[0], 2 * covariance.square().sum() / 4)
    halved = vicreg(x, y, covariance="mean", backend=backend)
    torch.testing.assert_close(halved.covariance, both.covariance / 2)
    total = 25 * both.invariance + 25 * both.variance + both.covariance
    torch.testing.assert_close(both.total, total)


@pytest.mark.parametrize("case", backend_cases())
def test_one_row_and_no_row_have_no_spread(case: Case) -> None:
    there = call(1, 0, dim=6).to(case.device, case.dtype)
    x, y = (there.tensors[name].detach().requires_grad_() for name in ("x", "y"))
    terms = vicreg(x, y, bounds(1, 0), backend=case.backend)
    assert terms.variance.tolist() == [0, 0]
    assert terms.covariance.tolist() == [0, 0]
    assert terms.total[1] == 0
    grad_x, grad_y = torch.autograd.grad((terms.variance + terms.covariance).sum(), (x, y))
    assert not grad_x.any()
    assert not grad_y.any()


@pytest.mark.parametrize("case", cases_of("native", "triton"))
@pytest.mark.parametrize(("rows", "dim"), [(5, 9), (9, 5)])
def test_constant_columns_are_held_up_by_eps(rows: int, dim: int, case: Case) -> None:
    x = torch.full((rows, dim), 0.1, device=case.device).requires_grad_()
    terms = vicreg(x, x, eps=0.25, backend=case.backend)
    torch.testing.assert_close(terms.variance.cpu(), torch.tensor([0.5]))
    assert terms.covariance.item() == pytest.approx(0, abs=1e-10)
    (grad,) = torch.autograd.grad(terms.total.sum(), x)
    assert grad.abs().max() < 1e-6


@pytest.mark.parametrize("case", NATIVE)
@pytest.mark.parametrize("scale", [1e-6, 1e6])
@pytest.mark.parametrize(("rows", "dim"), [(20, 45), (45, 20)])
def test_huge_and_small_scales(rows: int, dim: int, scale: float, case: Case) -> None:
    tensors = {name: scale * value for name, value in branches(rows, dim).items()}
    op_checks.check_agreement(OpCall("vicreg", vicreg, tensors, gradients=("x", "y")), case)


@pytest.mark.parametrize("case", cases_of("native", "triton"))
def test_rounding_makes_no_covariance_negative(case: Case) -> None:
    """One column that varies has no covariance with the others: all that is left is rounding."""
    lengths = torch.arange(2, 40)
    x = torch.zeros(int(lengths.sum()), 48, device=case.device)
    x[:, 5] = 30 * torch.randn(len(x)).to(case.device)
    offsets = torch.cat((lengths.new_zeros(1), lengths.cumsum(0)))
    assert (vicreg(x, x, offsets, backend=case.backend).covariance >= 0).all()


@pytest.mark.parametrize("case", NATIVE)
def test_covariance_keeps_its_digits_where_the_squared_norms_would_cancel(case: Case) -> None:
    """Far more rows than columns and hardly any correlation: their difference is a 500th of the norms."""
    x, y = torch.randn(2, 6000, 12, dtype=torch.float64)
    x, y = x.to(case.dtype), y.to(case.dtype)
    want = vicreg(x.double(), y.double(), backend="reference").covariance
    got = vicreg(x, y, backend=case.backend).covariance
    torch.testing.assert_close(got.double(), want, rtol=1e-6, atol=0)


@pytest.mark.parametrize("case", cases_of("native", "triton"))
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("dim", [3, 9])
def test_what_is_not_finite_spreads_in_its_segment_alone(dim: int, value: float, case: Case) -> None:
    there = call(5, 6, dim=dim).to(case.device, case.dtype)
    x, y = (there.tensors[name].clone() for name in ("x", "y"))
    x[2, 1] = value
    x.requires_grad_()
    terms = vicreg(x, y, bounds(5, 6), backend=case.backend)
    for term in terms:
        assert not term[0].isfinite()
        assert term[1].isfinite()
    (grad,) = torch.autograd.grad(terms.total.sum(), x)
    assert not grad[:5].isfinite().all()
    assert grad[5:].isfinite().all()


def test_memory_does_not_grow_with_segments_times_columns_squared() -> None:
    """64 segments of 8 x 768: the D x D matrices of both branches take 300 MB, gradients 3 MB."""
    script = """
        import resource, torch
        from refkp.ops import vicreg
        torch.set_num_threads(2)

        def step(num_segments):
            x, y = torch.randn(2, 8 * num_segments, 768).requires_grad_().unbind(0)
            vicreg(x, y, torch.arange(0, 8 * num_segments + 1, 8)).total.sum().backward()

        def peak():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        step(2)
        before = peak()
        step(64)
        print(peak() - before)
    """
    done = run_script(script)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 30_000  # KiB; inputs, gradients and their sum are 9 MB


def good() -> dict[str, Any]:
    return {"x": torch.randn(6, 4), "y": torch.randn(6, 4), "offsets": bounds(2, 4)}


ERRORS = {
    "x of one dimension": ({"x": torch.randn(6)}, r"vicreg: `x` must be \[T,D\]"),
    "x of integers": ({"x": torch.ones(6, 4, dtype=torch.int64)}, "vicreg: `x` must be of dtype float32"),
    "y of another shape": (
        {"y": torch.randn(5, 4)},
        r"vicreg: `y` must be \[T,D\] with T=6, D=4; got \[5,4\]",
    ),
    "y of another dtype": ({"y": torch.randn(6, 4).double()}, "vicreg: `y` must be of the dtype of `x`"),
    "offsets of int32": ({"offsets": bounds(2, 4).int()}, "vicreg: `offsets` must be of dtype int64"),
    "offsets of two dimensions": ({"offsets": bounds(2, 4)[None]}, r"vicreg: `offsets` must be \[P\+1\]"),
    "no offsets": ({"offsets": bounds()[:0]}, r"vicreg: `offsets` must be \[P\+1\]"),
    "offsets that descend": (
        {"offsets": torch.tensor([0, 4, 2, 6])},
        r"`offsets` must be ascending .*; got 2 at 2 after 4",
    ),
    "offsets that start late": (
        {"offsets": torch.tensor([1, 6])},
        "`offsets` must be 0 first and T=6 last; got 1 and 6",
    ),
    "offsets that end early": ({"offsets": torch.tensor([0, 5])}, "`offsets` must be 0 first and T=6 last"),
    "two coefficients": ({"coefficients": (1.0, 2.0)}, "`coefficients` must be three numbers"),
    "eps of zero": ({"eps": 0.0}, "`eps` must be finite and above 0"),
    "gamma not finite": ({"gamma": float("nan")}, "`gamma` must be finite"),
    "unknown covariance": ({"covariance": "max"}, "`covariance` must be one of 'sum', 'mean'"),
    "unknown backend": ({"backend": "fast"}, "`backend` must be one of"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_name_the_argument_and_the_rule(name: str) -> None:
    change, message = ERRORS[name]
    with pytest.raises(ValueError, match=message):
        vicreg(**{**good(), **change})


@pytest.mark.parametrize("backend", backend_names())
def test_every_backend_checks_the_values_of_the_offsets(backend: str) -> None:
    with pytest.raises(ValueError, match="ascending"):
        vicreg(**{**good(), "offsets": torch.tensor([0, 4, 2, 6])}, backend=backend)


def test_x_must_be_a_tensor() -> None:
    with pytest.raises(TypeError, match=r"vicreg: `x` must be a torch.Tensor; got list"):
        vicreg([[1.0]], torch.ones(1, 1))  # type: ignore[arg-type]


def test_half_precision_on_the_cpu_falls_to_the_reference_and_native_says_why() -> None:
    x, y = (tensor.half() for tensor in branches(6, 4).values())
    assert vicreg(x, y, backend="reference").total.dtype == torch.float32
    with pytest.raises(NotImplementedError, match="float16 is not supported on CPU"):
        vicreg(x, y, backend="native")


def test_there_is_no_second_derivative() -> None:
    x, y = (tensor.requires_grad_() for tensor in branches(6, 4).values())
    (grad,) = torch.autograd.grad(vicreg(x, y).total.sum(), x, create_graph=True)
    with pytest.raises(RuntimeError):
        torch.autograd.grad(grad.sum(), x)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device (none visible)")
def test_offsets_on_a_cuda_device_are_the_same_offsets() -> None:
    there = call(7, 3, dim=9).to("cuda", torch.float32)
    near = vicreg(there.tensors["x"], there.tensors["y"], there.tensors["offsets"].cpu())
    assert torch.equal(there.outputs("native")["total"], near.total)
