"""The kernel page: every op against what it replaces, in one run."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from refkp._measure import Step, fitting_rounds, take_turns
from refkp._progress import progress_bar
from refkp.geometry.affine import random_affine
from refkp.geometry.sphere import view_rotation
from refkp.ops import affine_warp, camera_warp, e2p, equivariance_loss, flow_gt, vicreg
from refkp.peers import camera_warp as camera_peers
from refkp.peers import e2p as e2p_peers
from refkp.peers import flow_gt as flow_peers
from refkp.peers import vicreg as vicreg_peers
from refkp.peers import warps as warp_peers
from refkp.viz.report import Report


class Contest(NamedTuple):
    """An op and what it replaces, on the same inputs."""

    op: str
    what: str
    ours: Step
    peer: Step
    peer_name: str = "torch"


def timing_page(report: Report, seconds: float) -> None:
    """Race every contest for about `seconds` and tabulate medians and ratios."""
    report.section("The kernels")
    report.text(
        "Each op on this machine against the composition it replaces, run in turn on the same inputs: medians, "
        "and how many times faster the op is. `refkp bench` measures more shapes, other peers and memory."
    )
    rows = []
    for contest in progress_bar(_contests(), "timing kernels"):
        ours, peer = _race(contest, seconds)
        rows.append(
            (
                contest.op,
                contest.what,
                f"{1e3 * ours:.2f} ms",
                contest.peer_name,
                f"{1e3 * peer:.2f} ms",
                f"{peer / ours:.1f} x",
            )
        )
    report.table(("op", "input", "refkp", "peer", "its time", "ratio"), rows, text_columns=2)


def _race(contest: Contest, seconds: float) -> tuple[float, float]:
    """Median seconds of both, alternating, after one run each to warm up."""
    steps = {"ours": contest.ours, "peer": contest.peer}
    for step in steps.values():
        step()
    times = take_turns(steps, fitting_rounds(steps.values(), seconds, least=3, most=1000))
    return times["ours"].median_s, times["peer"].median_s


def _contests() -> list[Contest]:
    return [_affine_warp(), _equivariance_loss(), _e2p(), _camera_warp(), _vicreg(), _flow_gt()]


def _affine_warp() -> Contest:
    image, theta = torch.rand(24, 3, 320, 320, requires_grad=True), random_affine(24)
    return Contest(
        "affine_warp",
        "24 images 320 x 320, forward and backward",
        lambda: _backward(affine_warp(image, theta), image),
        lambda: _backward(warp_peers.affine_warp(image, theta), image),
    )


def _equivariance_loss() -> Contest:
    maps, warped = (torch.rand(4, 10, 128, 128, requires_grad=True) for _ in range(2))
    theta = random_affine(4)
    return Contest(
        "equivariance_loss",
        "4 x 10 maps 128 x 128, forward and backward",
        lambda: _backward(equivariance_loss(maps, warped, theta), maps, warped),
        lambda: _backward(warp_peers.equivariance_loss(maps, warped, theta), maps, warped),
    )


def _e2p() -> Contest:
    erp = torch.randint(0, 256, (1, 3, 1024, 2048), dtype=torch.uint8)
    rotation = view_rotation(torch.arange(8) * 45.0, torch.zeros(8), torch.zeros(8)).float()
    return Contest(
        "e2p",
        "8 tiles 336 x 336 of a panorama 2048 x 1024",
        lambda: e2p(erp, rotation, hfov_deg=90, size=(336, 336)),
        lambda: e2p_peers.e2p_stacked(erp, rotation, 336),
    )


def _camera_warp() -> Contest:
    pixels = torch.randint(0, 256, (1024, 1280, 3), dtype=torch.uint8)
    K = torch.tensor([[900.0, 0, 640], [0, 900, 512], [0, 0, 1]], dtype=torch.float64)
    lens = torch.tensor([-0.29, 0.08, 0, 0, 0], dtype=torch.float64)
    shrunk = torch.tensor([[224 / 1280, 0, 0], [0, 224 / 1024, 0]], dtype=torch.float64)
    picture = pixels.permute(2, 0, 1)[None]
    return Contest(
        "camera_warp",
        "a picture 1280 x 1024 to 224 x 224 without its lens",
        lambda: camera_warp(picture, K[None], lens[None], shrunk[None], size=(224, 224)),
        lambda: camera_peers.undistort_and_resize(pixels, K, lens, 224),
        "OpenCV",
    )


def _vicreg() -> Contest:
    x, y = (torch.randn(16 * 98, 768, requires_grad=True) for _ in range(2))
    offsets = torch.arange(17) * 98
    strips_x, strips_y = (tensor.view(16, 98, 768) for tensor in (x, y))
    return Contest(
        "vicreg",
        "16 pairs of 98 tokens x 768, forward and backward",
        lambda: _backward(vicreg(x, y, offsets).total, x, y),
        lambda: _backward(vicreg_peers.vicreg(strips_x, strips_y, vicreg_peers.vicreg_covariance), x, y),
    )


def _flow_gt() -> Contest:
    y, x = torch.meshgrid(torch.linspace(-0.5, 0.5, 224), torch.linspace(-0.5, 0.5, 224), indexing="ij")
    depth = 500 + 40 * torch.sin(6 * x) + 30 * torch.cos(5 * y)
    K = torch.tensor([[270.0, 0, 112], [0, 270, 112], [0, 0, 1]], dtype=torch.float64)
    motion = torch.eye(4, dtype=torch.float64).repeat(1, 8, 1, 1)
    motion[0, :, 0, 3] = torch.linspace(-20, 20, 8)
    arguments = (depth[None], K[None], depth.repeat(1, 8, 1, 1), K.repeat(1, 8, 1, 1), motion)
    return Contest(
        "flow_gt",
        "1 query to 8 templates 224 x 224",
        lambda: flow_gt(*arguments),
        lambda: flow_peers.flow_gt(*arguments),
    )


def _backward(output: Tensor, *leaves: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(output, leaves, torch.ones_like(output))
