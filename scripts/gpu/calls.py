"""One or two small calls of every op, for checks on a device that is at hand for minutes.

Small, since a sanitizer slows them down a hundredfold; odd sizes, so that last blocks and tiles are partial.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from refkp.geometry.affine import affine_theta
from refkp.ops import affine_warp, camera_warp, e2p, equivariance_loss, vicreg
from tests.support.flow_scenes import maps, random_scene
from tests.support.op_call import OpCall
from tests.support.op_scenes import lenses


def small_calls() -> dict[str, OpCall]:
    """The calls by name."""
    torch.manual_seed(0)
    return dict([*_affine_calls(), *_e2p_calls(), *_vicreg_calls(), *_flow_calls(), *_camera_calls()])


def _affine_calls() -> Iterator[tuple[str, OpCall]]:
    image, warped = torch.rand(2, 2, 3, 19, 23, dtype=torch.float64)
    angles = torch.tensor([17.3, -31.1], dtype=torch.float64)
    scales = torch.tensor([0.93, 1.06], dtype=torch.float64)
    theta = affine_theta(angles, scales, torch.tensor([[0.071, -0.053]], dtype=torch.float64).expand(2, 2))
    tensors = {"image": image, "theta": theta}
    options = {"inverse": True, "fill": 0.7, "size": (17, 29)}
    yield "affine_warp", OpCall("affine_warp", affine_warp, tensors, ("image", "theta"), ("theta",), options)
    tensors = {"maps": image, "maps_warped": warped, "theta": theta}
    given = ("maps", "maps_warped"), ("theta",), {"coverage": True, "reduction": "none"}
    yield "equivariance_loss", OpCall("equivariance_loss", equivariance_loss, tensors, *given)


def _e2p_calls() -> Iterator[tuple[str, OpCall]]:
    erp = torch.rand(2, 3, 32, 64, dtype=torch.float64)
    axes = 0.4 * torch.randn(3, 3, 3, dtype=torch.float64)
    rotation = torch.matrix_exp(axes - axes.mT)
    options = {"hfov_deg": 80.0, "size": (5, 7), "image_index": torch.tensor([1, 0, 1])}
    for antialias in ("none", "mip"):
        given = (
            {"erp": erp, "rotation": rotation},
            ("erp",),
            ("rotation",),
            {**options, "antialias": antialias},
        )
        yield f"e2p, antialias {antialias}", OpCall("e2p", e2p, *given)


def _camera_calls() -> Iterator[tuple[str, OpCall]]:
    tensors = {"image": torch.rand(2, 3, 19, 23, dtype=torch.float64), **lenses(19, 23)}
    given = tensors, ("image",), ("intrinsics", "distortion", "affine")
    for antialias in (False, True):
        options = {"size": (5, 7), "antialias": antialias, "fill": 0.7}
        yield f"camera_warp, antialias {antialias}", OpCall("camera_warp", camera_warp, *given, options)


def _vicreg_calls() -> Iterator[tuple[str, OpCall]]:
    """Segments with fewer rows than columns, with more, of one row, and empty ones; several tiles."""
    lengths = torch.tensor([0, 67, 1, 0, 41, 9])
    x, y = torch.randn(2, int(lengths.sum()), 47, dtype=torch.float64)
    tensors = {"x": 1.3 * x + 0.5, "y": y, "offsets": lengths.cumsum(0)}
    yield "vicreg", OpCall("vicreg", vicreg, tensors, gradients=("x", "y"))


def _flow_calls() -> Iterator[tuple[str, OpCall]]:
    scene, matrices = random_scene(2, 3, (19, 23), (17, 29)), ("K_src", "K_dst", "dst_from_src")
    for rule in ("quad", "bilinear_relative"):
        options = {"tol_abs": 8.0, "rule": rule}
        yield f"flow_gt, rule {rule}", OpCall("flow_gt", maps, scene, wide=matrices, options=options)
