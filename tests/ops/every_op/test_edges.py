"""Numbers at the edges: images of one and two pixels, the pixel lattice, and poles in the middle of wide tiles."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from refkp.ops import affine_warp, e2p
from tests.support.op_call import Case, OpCall
from tests.support.op_checks import backend_cases, backend_names, cases_of, check_gradients
from tests.support.op_scenes import every_op
from tests.support.tolerances import assert_close, tolerance

#: Every gradient that the reference has, and those of the kernels.
GRADIENTS = {
    "affine_warp": ("image", "theta"),
    "equivariance_loss": ("maps", "maps_warped", "theta"),
    "e2p": ("erp",),
    "vicreg": ("x", "y"),
    "camera_warp": ("image", "intrinsics", "distortion", "affine"),
}


@pytest.mark.parametrize("size", [(1, 2), (2, 2), (2, 4), (3, 2)], ids=str)
@pytest.mark.parametrize("op", GRADIENTS)
def test_the_reference_of_small_inputs_matches_finite_differences(op: str, size: tuple[int, int]) -> None:
    check_gradients(dataclasses.replace(every_op(*size, 3)[op], gradients=GRADIENTS[op]), "reference")


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 2)], ids=str)
@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("backend", ["reference", "native"])
def test_warps_of_one_pixel_match_finite_differences(
    backend: str, inverse: bool, size: tuple[int, int]
) -> None:
    theta = torch.tensor([[[0.9, 0.2, 0.11], [-0.3, 1.2, -0.07]]], dtype=torch.float64)
    for out in (size, (1, 1), (2, 3)):
        image = torch.randn(1, 2, *size, dtype=torch.float64)
        options = {"size": out, "inverse": inverse, "fill": [0.3, -0.8]}
        call = OpCall(
            "affine_warp", affine_warp, {"image": image, "theta": theta}, ("image", "theta"), options=options
        )
        check_gradients(call, backend)


#: Maps that put every position on the lattice, where the bilinear surface has a kink.
LATTICE = {
    "identity": [[1, 0, 0], [0, 1, 0]],
    "mirror": [[-1, 0, 0], [0, 1, 0]],
    "half a turn": [[-1, 0, 0], [0, -1, 0]],
    "one pixel to the right": [[1, 0, 0.25], [0, 1, 0]],
    "along rows": [[0.7, 0, 0.1], [0, 1, 0]],
    "off every image": [[1, 0, 8], [0, 1, -8]],
}


@pytest.mark.parametrize("size", [(8, 8), (1, 8), (8, 1), (1, 1), (2, 2)], ids=str)
@pytest.mark.parametrize("name", LATTICE)
@pytest.mark.parametrize("case", backend_cases())
def test_the_gradient_on_the_lattice_is_that_of_the_reference(
    case: Case, name: str, size: tuple[int, int]
) -> None:
    image = torch.randn(2, 6, *size, dtype=torch.float64)
    theta = torch.tensor([LATTICE[name]] * 2, dtype=torch.float64)
    options = {"fill": [0.2 * c for c in range(6)]}
    call = OpCall(
        "affine_warp", affine_warp, {"image": image, "theta": theta}, ("image", "theta"), options=options
    )
    there = call.to(case.device, case.dtype)
    got, want = there.run(case.backend), there.to("cpu", torch.float64).run("reference")
    for key, value in want.items():
        assert_close(key, got[key], value, tolerance("affine_warp", case.backend, case.dtype))


@pytest.mark.parametrize("name", LATTICE)
@pytest.mark.parametrize("backend", ["reference", "native"])
def test_convention_the_derivative_on_the_lattice_is_towards_growing_x_and_y(backend: str, name: str) -> None:
    image = torch.randn(1, 3, 5, 8, dtype=torch.float64)
    weight = torch.randn(1, 3, 5, 8, dtype=torch.float64)
    theta = torch.tensor([LATTICE[name]], dtype=torch.float64).requires_grad_()

    def loss(at: Tensor) -> Tensor:
        return (weight * affine_warp(image, at, fill=0.4, backend=backend)).sum()

    (grad,) = torch.autograd.grad(loss(theta), theta)
    for row in (0, 1):  # linear between two rows or columns: a difference to one side is exact
        ahead = theta.detach().clone()
        ahead[0, row, 2] += 1e-4
        torch.testing.assert_close(grad[0, row, 2], (loss(ahead) - loss(theta)) / 1e-4, rtol=1e-6, atol=1e-8)


def looking(up: bool) -> Tensor:
    """[1,3,3] float64: a view straight at a pole."""
    turn = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]], dtype=torch.float64)
    return (turn if up else turn.mT)[None]


@pytest.mark.parametrize("convention", ["canonical", "py360convert", "equilib"])
@pytest.mark.parametrize("fov", [90.0, 178.0, 179.5, 179.99, 179.9999])
@pytest.mark.parametrize("up", [True, False])
@pytest.mark.parametrize("case", cases_of("native", "triton") + cases_of("native", dtype=torch.float64)[:1])
def test_a_pole_in_the_middle_of_a_wide_tile(case: Case, up: bool, fov: float, convention: str) -> None:
    erp = torch.rand(1, 2, 32, 64, dtype=torch.float64)
    for size in ((3, 3), (5, 7), (4, 6)):
        options = {"hfov_deg": fov, "size": size, "convention": convention}
        call = OpCall("e2p", e2p, {"erp": erp, "rotation": looking(up)}, options=options).to(
            case.device, case.dtype
        )
        got, want = call.run(case.backend), call.to("cpu", torch.float64).run("reference")
        assert_close("output", got["output"], want["output"], tolerance("e2p", case.backend, case.dtype))


@pytest.mark.parametrize("backend", backend_names())
def test_the_middle_of_a_wide_tile_is_where_it_looks(backend: str) -> None:
    """Whatever the field of view, the middle pixel of an odd tile is the direction of view itself."""
    erp, rotation = torch.rand(1, 3, 16, 32), every_op()["e2p"].tensors["rotation"]
    middles = [
        e2p(erp, rotation, hfov_deg=fov, size=(5, 5), backend=backend)[:, :, 2, 2]
        for fov in (1.0, 100.0, 179.9999)
    ]
    for middle in middles[1:]:
        torch.testing.assert_close(middle, middles[0], rtol=0, atol=1e-5)
