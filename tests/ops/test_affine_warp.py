"""affine_warp: agreement of the backends, gradients, registration, errors, laws."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from refkp.ops import affine_warp
from tests.support import op_checks
from tests.support.op_call import Case, OpCall
from tests.support.op_checks import backend_cases, backend_names, cases_of


def rotation(angle: float, scale: float = 1.0, tx: float = 0.0, ty: float = 0.0) -> Tensor:
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    return torch.tensor([[cos, sin, tx], [-sin, cos, ty]], dtype=torch.float64)


def call(batch: int, channels: int, height: int, width: int, **options: Any) -> OpCall:
    generator = torch.Generator().manual_seed(height * 100 + width)
    image = torch.randn(batch, channels, height, width, generator=generator, dtype=torch.float64)
    # Odd numbers, so that no position falls on the pixel lattice, where the derivative of theta is one-sided.
    angles = [0.31 - 0.17 * b for b in range(batch)]
    theta = [rotation(angle, 0.93 + 0.13 * b, 0.071, -0.053) for b, angle in enumerate(angles)]
    thetas = torch.stack(theta) if theta else torch.zeros(0, 2, 3, dtype=torch.float64)
    return OpCall(
        "affine_warp", affine_warp, {"image": image, "theta": thetas}, ("image", "theta"), ("theta",), options
    )


CALLS = {
    "odd": call(2, 3, 13, 17),
    "resized": call(2, 2, 11, 7, size=(19, 23)),
    "inverse": call(3, 2, 12, 12, inverse=True),
    "fill": call(2, 3, 9, 14, fill=(0.5, -1.0, 2.0)),
    "inverse, fill, resized": call(1, 5, 10, 31, inverse=True, fill=0.7, size=(8, 40)),
    "one pixel": call(1, 1, 1, 1),
    "one row": call(1, 2, 1, 29),
    "one column": call(1, 2, 37, 1),
    "many channels": call(1, 9, 18, 18),
    "a fill for each of many channels": call(2, 9, 7, 8, fill=[0.7 - 0.2 * c for c in range(9)]),
    "partial block": call(1, 1, 17, 33),
    "empty batch": call(0, 3, 5, 5),
    "no channels": call(2, 0, 5, 5),
}


@pytest.mark.parametrize("case", backend_cases())
@pytest.mark.parametrize("name", CALLS)
def test_agrees_with_the_reference(name: str, case: Case) -> None:
    op_checks.check_agreement(CALLS[name], case)


@pytest.mark.parametrize("case", backend_cases())
@pytest.mark.parametrize("scale", [0.15, 3.1])
def test_strong_zoom_agrees_with_the_reference(scale: float, case: Case) -> None:
    image = torch.randn(1, 2, 12, 15, dtype=torch.float64)
    theta = torch.stack([rotation(0.4, scale, 0.11, -0.07) * torch.tensor([[1.0], [0.7]])])
    op_checks.check_agreement(
        OpCall("affine_warp", affine_warp, {"image": image, "theta": theta}, ("image", "theta")), case
    )


@pytest.mark.parametrize("backend", ["reference", "native"])
@pytest.mark.parametrize("options", [{"size": (3, 5)}, {"inverse": True}, {"fill": (0.5, -1.0)}])
def test_gradients_match_finite_differences(options: dict[str, Any], backend: str) -> None:
    op_checks.check_gradients(call(1, 2, 4, 5, **options), backend)


@pytest.mark.parametrize("case", cases_of("reference", "triton") + cases_of("native")[1:])
@pytest.mark.parametrize("inverse", [False, True])
def test_a_theta_that_is_not_read_gives_nan(
    inverse: bool, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    op_checks.leave_theta_unread(monkeypatch)
    image = torch.rand(3, 2, 4, 5, device=case.device).requires_grad_()
    theta = torch.eye(3, device=case.device)[:2].repeat(3, 1, 1)
    theta[0, 1, 1] = torch.nan
    theta[1] = 0.0 if inverse and case.backend != "reference" else torch.inf
    out = affine_warp(image, theta, inverse=inverse, backend=case.backend)
    assert out.flatten(1).isnan().all(1).tolist() == [True, True, False]
    assert out[2].isfinite().all()
    if case.backend != "reference":
        (grad,) = torch.autograd.grad(out.sum(), image)
        assert grad.flatten(1).isnan().all(1).tolist() == [True, True, False]


def test_registration_holds() -> None:
    there = CALLS["odd"].to("cpu", torch.float32)
    image, theta = (tensor.requires_grad_() for tensor in there.tensors.values())
    arguments = (image, theta, (13, 17), False, [], "native")
    op_checks.check_registration(torch.ops.refkp.affine_warp.default, arguments)


@pytest.mark.parametrize("case", cases_of("native", "triton"))
def test_compiles(case: Case) -> None:
    op_checks.check_compiles(CALLS["inverse, fill, resized"], case)


@pytest.mark.parametrize("case", backend_cases())
def test_repeats_bitwise(case: Case) -> None:
    op_checks.check_deterministic(CALLS["fill"], case)


@pytest.mark.parametrize("case", cases_of("native", "triton"))
def test_strides_do_not_matter(case: Case) -> None:
    op_checks.check_strides(CALLS["fill"], case)


@pytest.mark.parametrize("case", backend_cases())
def test_identity_and_mirror_are_exact_copies(case: Case) -> None:
    image = torch.randn(1, 2, 31, 37).to(case.device, case.dtype)
    identity = torch.eye(3, device=case.device)[None, :2]
    mirror = identity * torch.tensor([[-1.0], [1.0]], device=case.device)
    assert torch.equal(affine_warp(image, identity, backend=case.backend), image)
    assert torch.equal(affine_warp(image, mirror, backend=case.backend), image.flip(-1))


@pytest.mark.parametrize("backend", backend_names())
def test_convention_theta_maps_output_to_input(backend: str) -> None:
    """tx > 0 moves the content left by tx W / 2 pixels; a scale below 1 magnifies; the angle turns it clockwise."""
    image = torch.zeros(1, 1, 8, 8)
    image[0, 0, 4, 6] = 1.0
    moved = affine_warp(image, rotation(0.0, 1.0, 0.5)[None], backend=backend)
    assert moved[0, 0].argmax() == 4 * 8 + 4
    upper_left = affine_warp(image, rotation(0.0, 0.5)[None], backend=backend)
    assert divmod(int(upper_left[0, 0].argmax()), 8)[1] >= 7
    turned = affine_warp(image, rotation(math.pi / 2)[None], backend=backend)
    assert turned[0, 0].argmax() == 6 * 8 + 3


@pytest.mark.parametrize("backend", backend_names())
def test_convention_matches_torch_grid_sample(backend: str) -> None:
    image, theta = (
        torch.rand(2, 3, 11, 14),
        torch.stack([rotation(0.3, 1.1, 0.2, -0.1), rotation(-0.5)]).float(),
    )
    grid = torch.nn.functional.affine_grid(theta, [2, 3, 9, 10], align_corners=False)
    want = torch.nn.functional.grid_sample(image, grid, align_corners=False)
    torch.testing.assert_close(
        affine_warp(image, theta, size=(9, 10), backend=backend), want, rtol=0, atol=1e-5
    )


def test_huge_translations_give_fill() -> None:
    image = torch.ones(1, 1, 4, 4)
    for tx in (1e3, -1e12, 1e38):
        theta = rotation(0.1, 1.0, tx)[None]
        assert torch.equal(affine_warp(image, theta, fill=3.0), torch.full_like(image, 3.0))


def test_non_finite_pixels_propagate() -> None:
    image = torch.ones(1, 1, 4, 4)
    image[0, 0, 1, 1] = float("nan")
    assert affine_warp(image, torch.eye(3)[None, :2] * 0.9).isnan().any()


def test_second_derivatives_are_refused() -> None:
    image = torch.rand(1, 1, 4, 4, requires_grad=True)
    warped = affine_warp(image, rotation(0.2)[None], backend="native")
    (grad,) = torch.autograd.grad(warped.square().sum(), image, create_graph=True)
    with pytest.raises(RuntimeError, match="autograd"):
        grad.sum().backward()


IMAGE, IDENTITY = torch.rand(2, 3, 4, 5), torch.eye(3)[:2].repeat(2, 1, 1)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"image": [1.0]}, TypeError, "`image` must be a torch.Tensor; got list"),
        ({"image": IMAGE[0]}, ValueError, r"`image` must be \[B,C,H,W\]; got \[3,4,5\]"),
        ({"image": IMAGE.int()}, ValueError, "`image` must be of dtype float32.*got int32"),
        ({"image": IMAGE[..., :0]}, ValueError, "`image` must be at least 1 x 1 pixels; got 4 x 0"),
        ({"theta": IDENTITY[:1]}, ValueError, r"`theta` must be \[B,2,3\] with B=2; got \[1,2,3\]"),
        (
            {"theta": torch.eye(3).repeat(2, 1, 1)},
            ValueError,
            r"`theta` must be \[B,2,3\] with B=2; got \[2,3,3\]",
        ),
        ({"theta": IDENTITY.int()}, ValueError, "`theta` must be of dtype"),
        ({"theta": IDENTITY.to("meta")}, ValueError, "`theta` must be on the device of `image`"),
        ({"theta": IDENTITY * float("nan")}, ValueError, "`theta` must be finite; got item 0"),
        (
            {"theta": IDENTITY * torch.tensor([1.0, 0.0]).view(2, 1, 1)},
            ValueError,
            "`theta` must be invertible.*item 1",
        ),
        ({"size": (4,)}, ValueError, r"`size` must be \(height, width\)"),
        ({"size": (4, 0)}, ValueError, "`size` must be at least 1 x 1 pixels; got 4 x 0"),
        (
            {"size": (1 << 20, 1 << 20)},
            ValueError,
            r"`size` must be of fewer than 2\^31 pixels.*Split it into tiles",
        ),
        (
            {"fill": (1.0, 2.0)},
            ValueError,
            r"`fill` must be a number or one per channel \(C=3\); got 2 numbers",
        ),
        ({"size": 5}, ValueError, r"`size` must be \(height, width\); got 5"),
        ({"fill": "white"}, ValueError, r"`fill` must be a number or one per channel \(C=3\); got white"),
        ({"fill": float("inf")}, ValueError, "`fill` must be finite"),
        (
            {"padding": "wrap"},
            ValueError,
            "`padding` must be one of 'zeros', 'border', 'reflection'; got 'wrap'",
        ),
        ({"padding": "border"}, NotImplementedError, "`padding` 'border' is not offered"),
        ({"backend": "cudnn"}, ValueError, "`backend` must be one of"),
        (
            {"image": IMAGE.half(), "backend": "native"},
            NotImplementedError,
            "backend 'native' cannot run.*float16",
        ),
    ],
)
def test_errors(arguments: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=f"affine_warp: {text}"):
        affine_warp(**{"image": IMAGE, "theta": IDENTITY, **arguments})


@pytest.mark.parametrize("backend", backend_names("triton"))
def test_triton_has_no_float64(backend: str) -> None:
    with pytest.raises(NotImplementedError, match=r"affine_warp: backend 'triton' cannot run.*float64"):
        affine_warp(IMAGE.double(), IDENTITY, backend=backend)


@pytest.mark.parametrize("backend", backend_names())
def test_every_backend_refuses_a_singular_theta(backend: str) -> None:
    with pytest.raises(ValueError, match="`theta` must be invertible"):
        affine_warp(IMAGE, torch.zeros(2, 2, 3), backend=backend)
