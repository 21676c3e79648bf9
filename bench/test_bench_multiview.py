"""Bodies of the size of a stick insect's model: skinning, joints alone, joints in pictures, a decoder's layer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

pytest.importorskip("transformers", reason="needs the extra `multiview`")

from bench.support import Compare, Row
from refkp.geometry.cameras import project
from refkp.geometry.rotations import axis_angle_to_matrix
from refkp.peers import body as peers
from refkp.systems.multiview.body.model import Body
from refkp.systems.multiview.body.posing import BodyPose, JointsOnly, pose_body
from refkp.systems.multiview.losses.points import keypoint_loss, keypoint_weights
from refkp.systems.multiview.model.decoder import DecoderLayer, normalised
from refkp.systems.multiview.model.network import Cameras

JOINTS, VERTICES, SHAPES = 55, 3020, 5


def body() -> Body:
    """Random arrays of the sizes of a stick insect's body, two weights a vertex."""
    draw = torch.Generator().manual_seed(0)
    parents = (-1, *((joint - 1) // 2 if joint < 7 else joint - 6 for joint in range(1, JOINTS)))
    first = torch.arange(VERTICES) % JOINTS
    joint = torch.stack((first, torch.tensor(parents)[first].clamp(min=0)), 1)
    share = torch.rand(VERTICES, 1, generator=draw)
    weights = torch.zeros(VERTICES, JOINTS).scatter_add(1, joint, torch.cat((share, 1 - share), 1))
    near = torch.zeros(VERTICES, JOINTS).scatter(
        1, joint[:, :1], 1.0
    )  # joints stand among the vertices they move
    regressor = torch.rand(JOINTS, VERTICES, generator=draw) * near.mT
    regressor = regressor / regressor.sum(1, keepdim=True)
    vertices = torch.randn(VERTICES, 3, generator=draw)
    return Body(
        vertices=vertices,
        faces=torch.zeros(1, 3, dtype=torch.long),
        weights=weights,
        parents=parents,
        joint_names=tuple(map(str, range(JOINTS))),
        rest_joints=regressor @ vertices,
        regressor=regressor,
        shapedirs=0.1 * torch.randn(VERTICES, 3, SHAPES, generator=draw),
    )


def pose(count: int) -> BodyPose:
    torch.manual_seed(1)
    return BodyPose(
        axis_angle_to_matrix(0.3 * torch.randn(count, JOINTS, 3)).requires_grad_(),
        torch.randn(count, 3).requires_grad_(),
        torch.randn(count, SHAPES).requires_grad_(),
    )


def backward(outputs: tuple[Tensor, ...], inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    total = torch.stack([output.square().sum() for output in outputs]).sum()
    return (*outputs, *torch.autograd.grad(total, inputs))


@pytest.mark.parametrize("count", [1, 8, 64])
@pytest.mark.parametrize("mode", ["forward", "forward+backward"])
def test_bench_skinning(mode: str, count: int, compare: Compare) -> None:
    model, posed = body(), pose(count)
    inputs = tuple(part for part in posed if part is not None)

    def run(step: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return step if mode == "forward" else backward(step, inputs)

    compare(
        Row(
            op="multiview_body",
            mode=f"{mode}, vertices",
            shape=(count, VERTICES, 3),
            dtype=torch.float32,
            ours=lambda: run(tuple(pose_body(model, posed)[:2])),
            peers={"torch, chain of 4x4": lambda: run(peers.skinned(model, posed))},
            tolerance=1e-3,
        )
    )


@pytest.mark.parametrize("count", [8, 64])
@pytest.mark.parametrize("mode", ["forward", "forward+backward"])
def test_bench_joints(mode: str, count: int, compare: Compare) -> None:
    model, posed = body(), pose(count)
    joints = JointsOnly(model)
    inputs = tuple(part for part in posed if part is not None)

    def run(step: Tensor) -> tuple[Tensor, ...]:
        return (step,) if mode == "forward" else backward((step,), inputs)

    compare(
        Row(
            op="multiview_body",
            mode=f"{mode}, joints",
            shape=(count, JOINTS, 3),
            dtype=torch.float32,
            ours=lambda: run(joints(posed)),
            peers={"torch, from vertices": lambda: run(peers.skinned(model, posed)[1])},
            tolerance=1e-3,
            target=3.0,
        )
    )


@pytest.mark.parametrize(("count", "views"), [(8, 6), (64, 18)])
def test_bench_keypoints(count: int, views: int, compare: Compare) -> None:
    torch.manual_seed(2)
    joints = torch.randn(count, JOINTS, 3, requires_grad=True)
    K = torch.tensor([[300.0, 0, 112], [0, 300, 112], [0, 0, 1]]).expand(count, views, 3, 3)
    R = axis_angle_to_matrix(torch.randn(count, views, 3)).requires_grad_()
    t = (torch.randn(count, views, 3) + torch.tensor([0.0, 0, 12])).requires_grad_()
    target, visibility = 224 * torch.rand(count, views, JOINTS, 2), torch.rand(count, views, JOINTS)

    def ours() -> tuple[Tensor, ...]:
        uv = project(joints[:, None], K, R, t).uv
        weights = keypoint_weights(target / 224, visibility)
        return backward((keypoint_loss(uv / 224, target / 224, weights).value,), (joints, R, t))

    def peer() -> tuple[Tensor, ...]:
        loss = peers.keypoint_loss(joints, Cameras(K, R, t), target, visibility, 224)
        return backward((loss,), (joints, R, t))

    compare(
        Row(
            op="multiview_keypoints",
            mode="forward+backward",
            shape=(count, views, JOINTS, 2),
            dtype=torch.float32,
            ours=ours,
            peers={"torch, view by view": peer},
            tolerance=1e-3,
        )
    )


@pytest.mark.parametrize("tokens", [392, 1176, 3528])
def test_bench_decoder_layer(tokens: int, compare: Compare) -> None:
    torch.manual_seed(3)
    layer = DecoderLayer(512, 1024, 8, 64, hidden=1024).eval()
    plain = peers.ProjectedLayer(layer)
    query, context = torch.randn(1, 512), torch.randn(1, tokens, 1024)

    @torch.no_grad()
    def ours() -> Tensor:
        return layer(query, normalised(context))

    @torch.no_grad()
    def peer() -> Tensor:
        return plain(query, context)

    compare(
        Row(
            op="multiview_decoder",
            mode="forward, one query",
            shape=(1, tokens, 1024),
            dtype=torch.float32,
            ours=ours,
            peers={"torch, keys and values": peer},
            tolerance=1e-3,
            target=5.0,
            bytes=4 * tokens * 1024,
        )
    )
