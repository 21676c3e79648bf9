"""Forward-mode derivatives: the right value from the reference, an error from backends without; never a silent 0."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

from refkp.ops import OPS
from tests.support.op_checks import backend_names
from tests.support.op_scenes import every_op

#: Every tensor of an op that has a derivative in the reference.
SMOOTH = [
    ("affine_warp", "image"),
    ("affine_warp", "theta"),
    ("equivariance_loss", "maps"),
    ("equivariance_loss", "maps_warped"),
    ("equivariance_loss", "theta"),
    ("e2p", "erp"),
    ("e2p", "rotation"),
    ("vicreg", "x"),
    ("vicreg", "y"),
    ("camera_warp", "image"),
    ("camera_warp", "intrinsics"),
    ("camera_warp", "distortion"),
    ("camera_warp", "affine"),
]
FLOW = [("flow_gt", "depth_src"), ("flow_gt", "K_dst"), ("flow_gt", "dst_from_src")]


def turning(rotation: Tensor) -> Tensor:
    """A tangent along which matrices stay rotations."""
    generator = torch.tensor([[0, -0.3, 0.2], [0.3, 0, -0.1], [-0.2, 0.1, 0]], dtype=rotation.dtype)
    return rotation @ generator


def tangent_of(name: str, value: Tensor) -> Tensor:
    return turning(value) if name == "rotation" else torch.randn_like(value)


@pytest.mark.parametrize(("op", "name"), SMOOTH)
def test_the_reference_has_the_value(op: str, name: str) -> None:
    """<cotangent, J tangent> is <J^T cotangent, tangent>."""
    call = dataclasses.replace(every_op(5, 8, 5)[op], gradients=(name,))
    value = call.tensors[name]
    tangent = tangent_of(name, value)
    outputs, tangents = torch.func.jvp(lambda x: call.outputs("reference", **{name: x}), (value,), (tangent,))
    leaf = value.clone().requires_grad_()
    cotangents = {key: torch.randn_like(output) for key, output in outputs.items()}
    total = sum(
        (cotangents[key] * out).sum() for key, out in call.outputs("reference", **{name: leaf}).items()
    )
    (grad,) = torch.autograd.grad(total, leaf)
    forward = sum((cotangents[key] * tangents[key]).sum() for key in outputs)
    torch.testing.assert_close(forward, (grad * tangent).sum())
    assert forward != 0


@pytest.mark.parametrize(("op", "name"), SMOOTH + FLOW)
@pytest.mark.parametrize("backend", backend_names("native", "triton"))
def test_the_kernels_refuse(backend: str, op: str, name: str) -> None:
    call = every_op(5, 8, 5)[op].to("cpu", torch.float32)
    value = call.tensors[name]
    tangent = tangent_of(name, value)
    with pytest.raises(NotImplementedError, match=f"{op}: `{name}` carries a tangent"):
        torch.func.jvp(lambda x: call.outputs(backend, **{name: x}), (value,), (tangent,))
    with forward_ad.dual_level(), pytest.raises(NotImplementedError, match="no forward-mode derivative"):
        call.outputs(backend, **{name: forward_ad.make_dual(value, tangent)})
    with pytest.raises(NotImplementedError, match="no forward-mode derivative"):
        torch.func.jacfwd(lambda x: call.outputs(backend, **{name: x}))(value)


@pytest.mark.parametrize("name", [name for _, name in FLOW])
def test_flow_gt_refuses_in_the_reference_too(name: str) -> None:
    call = every_op(5, 8)["flow_gt"]
    value = call.tensors[name]
    with pytest.raises(NotImplementedError, match=f"flow_gt: `{name}` carries a tangent.*detach"):
        torch.func.jvp(lambda x: call.outputs("reference", **{name: x}), (value,), (torch.ones_like(value),))


@pytest.mark.parametrize("op", OPS)
def test_a_dual_level_without_tangents_changes_nothing(op: str) -> None:
    call = every_op(5, 8)[op].to("cpu", torch.float32)
    want = call.outputs("native")
    with forward_ad.dual_level():
        for name, value in call.outputs("native").items():
            assert torch.equal(value.nan_to_num(), want[name].nan_to_num())
