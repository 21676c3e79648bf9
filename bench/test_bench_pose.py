"""The pose system: targets against a loop over templates, metrics against OpenCV, rendering against trimesh."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bench.support import Compare, Row, nbytes
from bench.test_bench_flow_gt import scene

pytest.importorskip("PIL", reason="needs the extra `viz`")
pytest.importorskip("embreex", reason="needs the extra `pose`")
pytest.importorskip("trimesh", reason="needs the extra `pose`")

from refkp.data.rendering import MeshRenderer
from refkp.data.shapes import make_object
from refkp.geometry.sphere import random_rotation
from refkp.peers import pose as peers
from refkp.systems.pose.metrics.errors import mspd
from refkp.systems.pose.symmetry import ContinuousSymmetry, symmetry_transforms
from refkp.systems.pose.targets import pose_targets
from refkp.systems.pose.views import Views

SIDE, PATCH = 224, 16


def views(depth: Tensor, K: Tensor, cam_from_obj: Tensor) -> Views:
    images = torch.zeros(*depth.shape[:-2], 3, SIDE, SIDE, device=depth.device)
    return Views(images, torch.ones_like(depth, dtype=torch.bool), depth, K, cam_from_obj)


@pytest.mark.parametrize("batch", [1, 8])
def test_bench_pose_targets(batch: int, compare: Compare, device: str) -> None:
    """Labels and dense flow, both directions, of a query with four templates."""
    depth, K, depths, Ks, motion = scene(batch, 4, SIDE, SIDE, device, background=True)
    start = torch.eye(4, dtype=torch.float64, device=device).repeat(batch, 1, 1)
    query, templates = views(depth, K, start), views(depths, Ks, motion)

    def ours() -> list[Tensor]:
        targets = pose_targets(query, templates, PATCH)
        return [targets.labels, targets.flow, targets.visible]

    compare(
        Row(
            op="pose targets",
            mode="forward",
            shape=depths.shape,
            dtype=torch.float32,
            device=device,
            ours=ours,
            peers={"torch per template": lambda: peers.pose_targets_per_template(query, templates, PATCH)},
            bytes=nbytes(depth, *ours()) + 2 * nbytes(depths),
        )
    )


def poses(count: int) -> Tensor:
    result = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
    result[:, :3, :3] = random_rotation(count)
    result[:, 2, 3] = 700
    return result


def test_bench_mspd(compare: Compare, device: str) -> None:
    """A model of 5000 vertices that any turn about an axis leaves as it is: 315 symmetries."""
    if device != "cpu":
        pytest.skip("OpenCV runs on the CPU")
    estimate, truth = poses(4), poses(4)
    points = 40 * torch.randn(5000, 3, dtype=torch.float64)
    K = torch.tensor([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]], dtype=torch.float64)
    turns = ContinuousSymmetry(torch.tensor([0.0, 0.0, 1.0]), torch.zeros(3))
    arguments = (estimate, truth, K, points, symmetry_transforms(continuous=[turns]))
    compare(
        Row(
            op="pose MSPD",
            mode="forward",
            shape=(4, len(arguments[-1]), len(points)),
            dtype=torch.float64,
            ours=lambda: mspd(*arguments),
            peers={"OpenCV loop": lambda: peers.mspd_opencv(*arguments)},
            bytes=nbytes(*arguments),
        )
    )


def test_bench_render_depth(compare: Compare, device: str) -> None:
    """An object in a picture of 640 x 480; both keep what they build for the mesh.

    A ray along an outline hits in one and misses in the other: the gate leaves those few pixels out.
    """
    if device != "cpu":
        pytest.skip("embree runs on the CPU")
    mesh, size, pose = make_object("mug", seed=0), (480, 640), poses(1)[0]
    K = torch.tensor([[570.0, 0, 320], [0, 570, 240], [0, 0, 1]], dtype=torch.float64)
    renderer = MeshRenderer([mesh])
    in_camera = torch.from_numpy(mesh.vertices) @ pose[:3, :3].mT + pose[:3, 3]
    peer = peers.DepthOfTrimesh(in_camera, torch.from_numpy(mesh.faces))

    def ours() -> Tensor:
        return torch.from_numpy(renderer.render_depth(pose[None].numpy(), K.numpy(), size))

    clear = (ours() - peer.render(K, size)).abs() < 1.0
    assert clear.float().mean() > 0.9995
    compare(
        Row(
            op="pose depth",
            mode="forward",
            shape=size,
            dtype=torch.float32,
            ours=lambda: ours()[clear],
            peers={"trimesh, embree": lambda: peer.render(K, size)[clear]},
            bytes=4 * size[0] * size[1],
            peer_tolerance=1e-3,
        )
    )
