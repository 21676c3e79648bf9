"""Triangulation with outliers against a loop over points with OpenCV: seconds, and the error against the truth.

The output that is compared is the mean error of the points that both find; the peer's may be larger.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from bench.support import Compare, Row, nbytes
from refkp.geometry.rig import Rig
from refkp.geometry.triangulation import triangulate
from refkp.peers.triangulation import opencv_ransac

pytest.importorskip("cv2", reason="needs OpenCV, of the extra `dev`")

WIDTH, HEIGHT = 1280, 1024


def rig_on_a_ring(num_views: int) -> Rig:
    """Distorted cameras 600 mm from the origin."""
    angle = torch.arange(num_views, dtype=torch.float64) * (2 * math.pi / num_views)
    height = torch.linspace(0.2, 0.7, num_views, dtype=torch.float64)
    away = torch.stack((angle.cos() * height.cos(), angle.sin() * height.cos(), height.sin()), dim=-1)
    up = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand(num_views, 3)
    right = torch.nn.functional.normalize(torch.linalg.cross(-away, up), dim=-1)
    R = torch.stack((right, torch.linalg.cross(-away, right), -away), dim=-2)
    K = torch.tensor([[1000.0, 0, WIDTH / 2], [0, 1000.0, HEIGHT / 2], [0, 0, 1]], dtype=torch.float64)
    lens = torch.tensor([-0.2, 0.05, 1e-3, -5e-4, 0.0], dtype=torch.float64)
    t = torch.tensor([0.0, 0.0, 600.0], dtype=torch.float64)
    return Rig(K.repeat(num_views, 1, 1), lens.repeat(num_views, 1), R, t.repeat(num_views, 1))


def seen_by(rig: Rig, points: Tensor, missing: float, wrong: float) -> Tensor:
    """Detections with a pixel of noise."""
    uv = rig.project(points).uv
    uv = uv + torch.randn_like(uv)
    anywhere = torch.rand_like(uv) * torch.tensor([WIDTH, HEIGHT])
    uv = torch.where(torch.rand_like(uv[..., :1]) < wrong, anywhere, uv)
    return torch.where(torch.rand_like(uv[..., :1]) < missing, torch.nan, uv)


@pytest.mark.parametrize(
    ("num_points", "missing", "wrong"), [(3000, 0.3, 0.05), (3000, 0.0, 0.3)], ids=["session", "outliers"]
)
def test_bench_triangulation(num_points: int, missing: float, wrong: float, compare: Compare) -> None:
    """Six views; 3000 points are what a loop does in a second or two."""
    torch.manual_seed(0)
    rig = rig_on_a_ring(6)
    points = (torch.rand(num_points, 3, dtype=torch.float64) - 0.5) * 200
    uv = seen_by(rig, points, missing, wrong)
    both = triangulate(uv, rig).valid & opencv_ransac(uv, rig).isfinite().all(-1)

    def mean_error(found: Tensor) -> Tensor:
        return (found - points)[both].norm(dim=-1).mean()

    compare(
        Row(
            op="triangulate",
            mode="forward",
            shape=uv.shape,
            dtype=uv.dtype,
            ours=lambda: mean_error(triangulate(uv, rig).points),
            peers={"OpenCV per point": lambda: mean_error(opencv_ransac(uv, rig))},
            target=5.0,
            bytes=nbytes(uv, points),
            peer_tolerance=1.0,
        )
    )
