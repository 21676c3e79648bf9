"""equivariance_loss: agreement of the backends, gradients, registration, errors, laws."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from refkp.geometry.affine import affine_theta
from refkp.ops import affine_warp, equivariance_loss
from tests.support import op_checks
from tests.support.op_call import Case, OpCall
from tests.support.op_checks import backend_cases, backend_names, cases_of


def thetas(batch: int) -> Tensor:
    step = torch.arange(batch, dtype=torch.float64)
    return affine_theta(
        17.3 - 9.1 * step, 0.93 + 0.13 * step, torch.tensor([0.071, -0.053]).expand(batch, 2).double()
    )


def call(batch: int, channels: int, height: int, width: int, **options: Any) -> OpCall:
    generator = torch.Generator().manual_seed(height * 100 + width)
    maps, warped = torch.rand(2, batch, channels, height, width, generator=generator, dtype=torch.float64)
    tensors = {"maps": maps, "maps_warped": warped, "theta": thetas(batch)}
    return OpCall(
        "equivariance_loss", equivariance_loss, tensors, ("maps", "maps_warped"), ("theta",), options
    )


CALLS = {
    "plain": call(2, 3, 13, 17),
    "per item": call(3, 5, 11, 8, reduction="none"),
    "coverage": call(2, 3, 14, 14, coverage=True),
    "coverage per item": call(3, 9, 7, 23, coverage=True, reduction="none"),
    "one pixel": call(1, 1, 1, 1, coverage=True),
    "one row": call(1, 2, 1, 29),
    "one column": call(1, 2, 37, 1, coverage=True),
    "partial block": call(1, 1, 17, 33),
    "empty batch": call(0, 3, 5, 5, reduction="none"),
    "no channels": call(2, 0, 5, 5, reduction="none"),
}


@pytest.mark.parametrize("case", backend_cases())
@pytest.mark.parametrize("name", CALLS)
def test_agrees_with_the_reference(name: str, case: Case) -> None:
    op_checks.check_agreement(CALLS[name], case)


@pytest.mark.parametrize("backend", ["reference", "native"])
@pytest.mark.parametrize("coverage", [False, True])
def test_gradients_match_finite_differences(coverage: bool, backend: str) -> None:
    op_checks.check_gradients(call(2, 2, 4, 5, coverage=coverage, reduction="none"), backend)


def test_registration_holds() -> None:
    there = CALLS["plain"].to("cpu", torch.float32).tensors
    arguments = (
        there["maps"].requires_grad_(),
        there["maps_warped"].requires_grad_(),
        there["theta"],
        True,
        "native",
    )
    op_checks.check_registration(torch.ops.refkp.equivariance_loss.default, arguments)


@pytest.mark.parametrize("case", cases_of("native", "triton"))
def test_compiles(case: Case) -> None:
    op_checks.check_compiles(CALLS["coverage"], case)


@pytest.mark.parametrize("case", backend_cases())
def test_repeats_bitwise(case: Case) -> None:
    op_checks.check_deterministic(CALLS["coverage"], case)


@pytest.mark.parametrize("case", cases_of("native", "triton"))
def test_strides_do_not_matter(case: Case) -> None:
    op_checks.check_strides(CALLS["plain"], case)


def test_theta_gets_a_gradient_in_the_reference_only() -> None:
    there = CALLS["plain"].tensors
    theta = there["theta"].clone().requires_grad_()
    loss = equivariance_loss(there["maps"], there["maps_warped"], theta, backend="reference")
    assert torch.autograd.grad(loss, theta)[0].abs().max() > 0
    with pytest.raises(NotImplementedError, match="no gradient for `theta`"):
        equivariance_loss(there["maps"], there["maps_warped"], theta)
    with torch.no_grad():
        torch.testing.assert_close(
            equivariance_loss(there["maps"], there["maps_warped"], theta), loss.detach()
        )


@pytest.mark.parametrize("backend", backend_names())
def test_convention_theta_is_that_of_the_warped_image(backend: str) -> None:
    """Maps that follow the image lose nothing inside: A' = warp(A, theta) comes back to A."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 48), torch.linspace(-1, 1, 48), indexing="ij")
    maps = torch.exp(-20 * ((x - 0.2).square() + (y + 0.1).square()))[None, None]
    theta = affine_theta(torch.tensor([25.0]), torch.tensor([0.9]), torch.tensor([[0.15, -0.1]]))
    followed = equivariance_loss(maps, affine_warp(maps, theta), theta, backend=backend)
    ignored = equivariance_loss(maps, maps, theta, backend=backend)
    assert followed < 0.01 * ignored


@pytest.mark.parametrize("backend", backend_names())
def test_mean_is_the_mean_of_the_items(backend: str) -> None:
    there = CALLS["per item"].to("cpu", torch.float32).tensors
    items = equivariance_loss(**there, reduction="none", backend=backend)
    torch.testing.assert_close(equivariance_loss(**there, backend=backend), items.mean())


@pytest.mark.parametrize("backend", backend_names())
def test_coverage_leaves_out_what_never_had_a_source(backend: str) -> None:
    """With nothing back in the frame the loss is 0 and so are its gradients; without coverage it is mean(A^2)."""
    maps = torch.rand(1, 2, 6, 6).requires_grad_()
    theta = affine_theta(torch.zeros(1), torch.ones(1), torch.tensor([[4.0, 0.0]]))
    covered = equivariance_loss(maps, maps, theta, coverage=True, backend=backend)
    assert covered == 0
    assert torch.autograd.grad(covered, maps)[0].abs().max() == 0
    torch.testing.assert_close(equivariance_loss(maps, maps, theta, backend=backend), maps.square().mean())


@pytest.mark.parametrize("case", cases_of("reference", "triton") + cases_of("native")[1:])
@pytest.mark.parametrize("coverage", [False, True])
def test_a_theta_that_is_not_read_gives_nan(
    coverage: bool, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    op_checks.leave_theta_unread(monkeypatch)
    maps = torch.rand(3, 2, 4, 5, device=case.device).requires_grad_()
    theta = torch.eye(3, device=case.device)[:2].repeat(3, 1, 1)
    theta[0, 1, 1] = torch.nan
    theta[1] = torch.nan if case.backend == "reference" else 0.0
    loss = equivariance_loss(maps, maps, theta, coverage=coverage, reduction="none", backend=case.backend)
    assert loss.isnan().tolist() == [True, True, False]
    (grad,) = torch.autograd.grad(loss.sum(), maps)
    assert grad.flatten(1).isnan().all(1).tolist() == [True, True, False]
    assert grad[2].isfinite().all()


MAPS, IDENTITY = torch.rand(2, 3, 4, 5), torch.eye(3)[:2].repeat(2, 1, 1)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"maps": None}, TypeError, "`maps` must be a torch.Tensor; got NoneType"),
        ({"maps": MAPS[0]}, ValueError, r"`maps` must be \[B,K,H,W\]; got \[3,4,5\]"),
        (
            {"maps_warped": MAPS[:, :2]},
            ValueError,
            r"`maps_warped` must be \[B,K,H,W\] with.*K=3.*got \[2,2,4,5\]",
        ),
        ({"maps_warped": MAPS.double()}, ValueError, "`maps_warped` must be of the dtype of `maps`"),
        ({"maps_warped": MAPS.to("meta")}, ValueError, "`maps_warped` must be on the device of `maps`"),
        ({"maps": MAPS.long(), "maps_warped": MAPS.long()}, ValueError, "`maps` must be of dtype"),
        (
            {"maps": MAPS[:, :, :0], "maps_warped": MAPS[:, :, :0]},
            ValueError,
            "`maps` must be at least 1 x 1 pixels",
        ),
        ({"theta": IDENTITY[0]}, ValueError, r"`theta` must be \[B,2,3\] with B=2; got \[2,3\]"),
        ({"theta": IDENTITY / 0}, ValueError, "`theta` must be finite"),
        ({"theta": IDENTITY * 0}, ValueError, "`theta` must be invertible"),
        ({"reduction": "sum"}, ValueError, "`reduction` must be one of 'mean', 'none'; got 'sum'"),
        (
            {"maps": MAPS.bfloat16(), "maps_warped": MAPS.bfloat16(), "backend": "native"},
            NotImplementedError,
            "bfloat16",
        ),
    ],
)
def test_errors(arguments: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=f"equivariance_loss: .*{text}"):
        equivariance_loss(**{"maps": MAPS, "maps_warped": MAPS, "theta": IDENTITY, **arguments})


def test_errors_name_a_plane_too_large_for_its_offsets() -> None:
    huge = torch.empty(1, 1, 1, 1).expand(1, 1, 1 << 16, 1 << 16)
    with pytest.raises(ValueError, match=r"`maps` must be of fewer than 2\^31 pixels"):
        equivariance_loss(huge, huge, IDENTITY[:1])
