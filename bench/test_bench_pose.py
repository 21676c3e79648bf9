"""The pose system: targets against a loop over templates, metrics against OpenCV, rendering against trimesh.

Templates and the judging of a set of pictures are measured against how they were made before (`bench.pose_before`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.support import Compare, Row, nbytes
from bench.test_bench_flow_gt import scene

pytest.importorskip("PIL", reason="needs the extra `viz`")
pytest.importorskip("cv2", reason="needs the extra `pose`")
pytest.importorskip("embreex", reason="needs the extra `pose`")
pytest.importorskip("trimesh", reason="needs the extra `pose`")

from bench import pose_before
from refkp.commands import available_cores
from refkp.data.diameter import largest_distance
from refkp.data.meshes import Mesh
from refkp.data.rendering import MeshRenderer
from refkp.data.shapes import make_object
from refkp.geometry.sphere import random_rotation
from refkp.peers import pose as peers
from refkp.systems.pose.data.dataset import PoseDataset, SampleSpec, tabulate_instances
from refkp.systems.pose.data.generator import generate_scenes
from refkp.systems.pose.data.models import ModelSet
from refkp.systems.pose.data.rendered_templates import RenderedTemplates
from refkp.systems.pose.data.shards import ShardReader
from refkp.systems.pose.data.spec import GeneratorSpec
from refkp.systems.pose.data.template_cache import TemplateCache
from refkp.systems.pose.inference.evaluation import estimate_dataset
from refkp.systems.pose.metrics.errors import mspd
from refkp.systems.pose.model.spec import AttentionSpec, ClassifierSpec, EncoderSpec, FlowSpec, VpogSpec
from refkp.systems.pose.model.vpog import Vpog
from refkp.systems.pose.symmetry import ContinuousSymmetry, symmetry_transforms
from refkp.systems.pose.targets import pose_targets
from refkp.systems.pose.templates.cached import cached_views
from refkp.systems.pose.templates.rendering import rendered_views
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


def seen(views: Views) -> list[Tensor]:
    """What crops of the same views have in common, whatever rounding does along outlines."""
    share = views.masks.double().mean((1, 2))
    colours, depth = views.images.double().mean((2, 3)), views.depth.double().mean((1, 2))
    return [views.K, views.cam_from_obj, share, colours / share[:, None], depth / share]


@pytest.mark.parametrize(
    ("mode", "size"),
    [("rendered", 96), pytest.param("rendered", 224, marks=pytest.mark.large), ("second run", 96)],
)
def test_bench_pose_templates(mode: str, size: int, compare: Compare, device: str, tmp_path: Path) -> None:
    """42 templates for a network of `size` pixels, rendered or beside the mesh since the run before."""
    if device != "cpu":
        pytest.skip("embree runs on the CPU")
    mesh, workers = make_object("mug", seed=3), available_cores()

    def ours() -> list[Tensor]:
        if mode == "rendered":
            return seen(rendered_views(mesh, size, level=0, workers=workers))
        return seen(cached_views(mesh, size, tmp_path, level=0, workers=workers))

    compare(
        Row(
            op="pose templates",
            mode=mode,
            shape=(42, 3, size, size),
            dtype=torch.float32,
            ours=ours,
            peers={"whole pictures, cropped": lambda: seen(pose_before.rendered_views(mesh, size, 0))},
            target=4.0 if size == 96 else None,
            bytes=42 * size * size * 17,
            peer_tolerance=2e-2,  # a mask by another rule at its border
        )
    )


def small_set(folder: Path, mesh: Mesh) -> PoseDataset:
    """Two pictures of an object, and its 42 templates at 96 pixels."""
    shards = generate_scenes({1: mesh}, folder, GeneratorSpec(2, size=(240, 320), max_objects=1))
    source, models = ShardReader(shards), ModelSet(folder)
    templates = TemplateCache(RenderedTemplates(models, level=0, workers=available_cores()), 96)
    return PoseDataset(source, tabulate_instances(source, (1,), 0.1), templates, models, SampleSpec())


def small_model() -> Vpog:
    """Of the size of the preset `tiny`, with random weights: no pose is found, which takes longest."""
    encoder = EncoderSpec(dim=128, depth=4, heads=4, patch_size=12, image_size=96)
    attention = AttentionSpec(depth=2, window=4, drop_path=0.0)
    heads = ClassifierSpec(hidden_dim=128, out_dim=64), FlowSpec(hidden=(256, 256))
    return Vpog(VpogSpec(encoder, attention, *heads)).eval()


def test_bench_pose_eval(compare: Compare, device: str, tmp_path: Path) -> None:
    """`refkp pose eval` without its scores: several objects at a time against one after the other."""
    if device != "cpu":
        pytest.skip("the threads are those of the CPU")
    dataset, model = small_set(tmp_path, make_object("mug", seed=3)), small_model()

    def ours() -> Tensor:
        return torch.tensor([len(estimate_dataset(model, dataset, workers=available_cores()).estimates)])

    compare(
        Row(
            op="pose eval",
            mode="estimates",
            shape=(len(dataset), 42, 3, 96, 96),
            dtype=torch.float32,
            ours=ours,
            peers={"one by one": lambda: torch.tensor([pose_before.num_estimated(model, dataset)])},
            target=4.0,
        )
    )


def cloud(kind: str, count: int) -> np.ndarray:
    """Points [count,3]: on a sphere, all of them corners of the hull; or in a ball, few of them."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(count, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return 60 * points * (rng.uniform(size=(count, 1)) ** (1 / 3) if kind == "ball" else 1.0)


def every_distance(points: np.ndarray) -> float:
    """By all pairs, in blocks."""
    tensor = torch.from_numpy(points)
    return max(float(torch.cdist(block, tensor).max()) for block in tensor.split(1000))


def hull_distance(points: np.ndarray) -> float:
    """By all pairs of corners of the convex hull."""
    spatial = pytest.importorskip("scipy.spatial", reason="stands in the comparison")
    return every_distance(points[spatial.ConvexHull(points).vertices])


@pytest.mark.parametrize(
    ("kind", "count", "peer"),
    [
        ("sphere", 20_000, every_distance),
        ("ball", 1_000_000, hull_distance),
        pytest.param("sphere", 1_000_000, None, marks=pytest.mark.large),
    ],
)
def test_bench_diameter(kind: str, count: int, peer: Any, compare: Compare, device: str) -> None:
    """The largest distance between two vertices.

    Of a million points of a sphere, all corners of their hull, nobody else has it in minutes: the row stands
    against every distance of a hundredth of them, a part in ten thousand of the work.
    """
    if device != "cpu":
        pytest.skip("numpy runs on the CPU")
    points = cloud(kind, count)
    few = points if peer else points[::100]
    name = {every_distance: "all pairs", hull_distance: "scipy's hull, all pairs"}
    compare(
        Row(
            op="diameter",
            mode=kind,
            shape=points.shape,
            dtype=torch.float64,
            ours=lambda: torch.tensor(largest_distance(points), dtype=torch.float64),
            peers={
                name.get(peer, "all pairs of 1 %"): lambda: torch.tensor(
                    (peer or every_distance)(few), dtype=torch.float64
                )
            },
            bytes=points.nbytes,
            tolerance=1e-9,
            peer_tolerance=1e-9 if peer else 1e-3,
        )
    )
