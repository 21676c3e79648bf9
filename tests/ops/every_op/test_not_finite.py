"""NaN and infinity spread the same way in every backend of every op: to what reads them with a weight alone."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from refkp.ops import affine_warp, equivariance_loss, vicreg
from tests.support.op_call import Case, OpCall
from tests.support.op_checks import backend_cases, cases_of
from tests.support.op_scenes import every_op
from tests.support.tolerances import assert_close, tolerance

VALUES = [math.nan, math.inf, -math.inf]

#: What is planted where: the tensor of an op, and an index that is read with all kinds of weights.
PLACES = {
    "affine_warp": ("image", (0, 4, 5, 6)),
    "equivariance_loss": ("maps_warped", (1, 2, 4, 7)),
    "e2p": ("erp", (0, 5, 1, 3)),
    "vicreg": ("x", (3, 2)),
    "flow_gt": ("depth_dst", (1, 0, 5, 4)),
    "camera_warp": ("image", (0, 4, 5, 6)),
}


def planted(call: OpCall, value: float, name: str, index: Any) -> OpCall:
    tensor = call.tensors[name].clone()
    tensor[index] = value
    return dataclasses.replace(call, tensors={**call.tensors, name: tensor})


@pytest.mark.parametrize("value", VALUES, ids=str)
@pytest.mark.parametrize("op", PLACES)
@pytest.mark.parametrize("case", backend_cases())
def test_spreads_as_in_the_reference(case: Case, op: str, value: float) -> None:
    call = planted(every_op()[op], value, *PLACES[op]).to(case.device, case.dtype)
    got, want = call.run(case.backend), call.to("cpu", torch.float64).run("reference")
    for name, wanted in want.items():
        if name.startswith("grad_"):  # a derivative of NaN is NaN; of infinity either
            assert torch.equal(got[name].cpu().isfinite(), wanted.isfinite()), name
        elif wanted.is_floating_point():
            assert_close(name, got[name], wanted, tolerance(op, case.backend, case.dtype))
        else:
            assert torch.equal(got[name].cpu(), wanted)


@pytest.mark.parametrize(
    "options", [{"mode": "nearest"}, {"antialias": "box"}, {"antialias": "mip"}], ids=str
)
@pytest.mark.parametrize("case", backend_cases())
def test_every_sampling_of_e2p_spreads_as_the_reference(case: Case, options: dict[str, str]) -> None:
    base = every_op(8, 16, 3)["e2p"]
    call = dataclasses.replace(base, options={"hfov_deg": 120.0, "size": (3, 4), **options}, gradients=())
    call = planted(call, math.nan, "erp", (0, 1, slice(2, 3), slice(4, 6))).to(case.device, case.dtype)
    got, want = call.run(case.backend)["output"], call.to("cpu", torch.float64).run("reference")["output"]
    assert 0 < int(want.isnan().sum()) < want.numel()
    assert_close("output", got, want, tolerance("e2p", case.backend, case.dtype))


@pytest.mark.parametrize("value", VALUES, ids=str)
@pytest.mark.parametrize("case", backend_cases())
def test_one_dimension_that_is_not_finite_has_no_covariance_of_0(case: Case, value: float) -> None:
    x, y = torch.randn(2, 5, 1, dtype=torch.float64)
    x[2] = value
    call = OpCall("vicreg", vicreg, {"x": x, "y": y}, ("x", "y")).to(case.device, case.dtype)
    got, want = call.run(case.backend), call.to("cpu", torch.float64).run("reference")
    assert want["covariance"].isnan().all()
    for name, wanted in want.items():
        assert torch.equal(got[name].cpu().isfinite(), wanted.isfinite()), name


@pytest.mark.parametrize("value", VALUES, ids=str)
@pytest.mark.parametrize("op", ["affine_warp", "equivariance_loss"])
@pytest.mark.parametrize("case", backend_cases())
def test_gradients_spread_as_in_the_reference(case: Case, op: str, value: float) -> None:
    call = every_op()[op].to(case.device, case.dtype)

    def gradients(there: OpCall, backend: str) -> tuple[Tensor, ...]:
        leaves = {name: there.tensors[name].detach().requires_grad_() for name in there.gradients}
        output = there.outputs(backend, **leaves)["output"]
        cotangent = torch.ones_like(output)
        cotangent.flatten()[-3:-2] = value
        return torch.autograd.grad(output, list(leaves.values()), cotangent)

    want = gradients(call.to("cpu", torch.float64), "reference")
    for got, wanted in zip(gradients(call, case.backend), want, strict=True):
        assert torch.equal(got.cpu().isfinite(), wanted.isfinite())


#: Scales of x and y that copy pixels, and the axes that they flip.
COPIES: dict[str, tuple[tuple[float, float], tuple[int, ...]]] = {
    "identity": ((1.0, 1.0), ()),
    "mirror x": ((-1.0, 1.0), (3,)),
    "mirror y": ((1.0, -1.0), (2,)),
    "half a turn": ((-1.0, -1.0), (2, 3)),
}


@pytest.mark.parametrize("name", COPIES)
@pytest.mark.parametrize("size", [(7, 9), (1, 1), (1, 6), (33, 18), (31, 1)], ids=str)
@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("case", backend_cases(reference=True))
def test_identity_and_mirror_copy_every_bit(
    case: Case, inverse: bool, size: tuple[int, int], name: str
) -> None:
    (x, y), axes = COPIES[name]
    theta = torch.tensor([[[x, 0, 0], [0, y, 0]]], dtype=torch.float64, device=case.device)
    image = torch.randn(1, 5, *size).to(case.device, case.dtype)
    for k, value in enumerate((math.nan, math.inf, -math.inf)):
        image[0, k, size[0] // 2, size[1] // 3] = value
    out = affine_warp(image, theta, inverse=inverse, backend=case.backend)
    assert torch.equal(out.flip(axes).nan_to_num(nan=1e4), image.nan_to_num(nan=1e4))


@pytest.mark.parametrize("case", backend_cases(reference=True))
def test_the_identity_hands_each_gradient_to_its_pixel(case: Case) -> None:
    image = torch.randn(1, 6, 8, 9).to(case.device, case.dtype).requires_grad_()
    cotangent = torch.ones_like(image)
    cotangent[0, 5, 3, 4] = math.nan
    out = affine_warp(image, torch.eye(2, 3, device=case.device)[None], backend=case.backend)
    (grad,) = torch.autograd.grad(out, image, cotangent)
    assert torch.equal(grad.isnan(), cotangent.isnan())


@pytest.mark.parametrize("case", backend_cases(reference=True))
def test_the_loss_under_the_identity_reads_each_pixel_alone(case: Case) -> None:
    maps = torch.randn(1, 6, 8, 9).to(case.device, case.dtype)
    broken = maps.clone()
    broken[0, 4, 3, 4] = math.nan
    broken.requires_grad_()
    loss = equivariance_loss(maps, broken, torch.eye(2, 3, device=case.device)[None], backend=case.backend)
    assert loss.isnan()
    assert torch.autograd.grad(loss, broken)[0].isnan().sum() == 1


@pytest.mark.parametrize("case", cases_of("native", "triton", "reference"))
@pytest.mark.parametrize("tap", range(4))
def test_an_infinite_neighbour_gives_infinity_and_not_nan(tap: int, case: Case) -> None:
    image = torch.zeros(1, 1, 6, 6, device=case.device)
    image[0, 0, 2 + tap // 2, 2 + tap % 2] = math.inf
    theta = torch.eye(2, 3, device=case.device)[None].clone()
    theta[0, :, 2] = torch.tensor([0.1, 0.08])  # a fraction of a pixel to the right and down
    out = affine_warp(image, theta, backend=case.backend)
    assert not out.isnan().any()
    assert out.isinf().sum() == 4
