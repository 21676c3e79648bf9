"""One small call of every op, for tests that go over all ops."""

from __future__ import annotations

import torch
from torch import Tensor

from refkp.geometry.affine import affine_theta
from refkp.ops import affine_warp, camera_warp, e2p, equivariance_loss, vicreg
from tests.support.flow_scenes import maps, random_scene
from tests.support.op_call import OpCall


def thetas(batch: int) -> Tensor:
    """[B,2,3] float64, which put no position on the pixel lattice."""
    step = torch.arange(batch, dtype=torch.float64)
    shift = torch.tensor([0.071, -0.053], dtype=torch.float64).expand(batch, 2)
    return affine_theta(17.3 - 9.1 * step, 0.93 + 0.13 * step, shift)


def turned(count: int) -> Tensor:
    """[N,3,3] float64 views in every direction, seams and poles included."""
    generator = torch.Generator().manual_seed(5)
    matrices = torch.linalg.qr(torch.randn(count, 3, 3, generator=generator, dtype=torch.float64))[0]
    return matrices * torch.linalg.det(matrices)[:, None, None]


def lenses(height: int, width: int) -> dict[str, Tensor]:
    """Two cameras of camera_warp for images of a size, float64: all coefficients, and an output a little turned."""
    focal = 0.8 * max(height, width)
    K = [[focal, 0.1, 0.52 * width], [0.0, focal + 0.3, 0.47 * height], [0.0, 0.0, 1.0]]
    coefficients = [[-0.21, 0.05, 0.011, -0.017, 0.003], [0.13, -0.02, -0.009, 0.006, 0.0]]
    affine = [[[0.91, 0.07, 0.31], [-0.05, 0.88, 0.23]], [[0.47, -0.03, 0.17], [0.02, 1.13, -0.29]]]
    return {
        "intrinsics": torch.tensor(K, dtype=torch.float64).expand(2, 3, 3).clone(),
        "distortion": torch.tensor(coefficients, dtype=torch.float64),
        "affine": torch.tensor(affine, dtype=torch.float64),
    }


def every_op(height: int = 11, width: int = 14, channels: int = 6) -> dict[str, OpCall]:
    """A call of each op by name, with all its gradients; `width` is even, as e2p wants."""
    generator = torch.Generator().manual_seed(height * 100 + width)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    image, plain, warped = draw(3, 2, channels, height, width)
    erp = draw(1, channels, height, width)
    x, y = draw(2, height + width, channels)
    fill = [0.5 - 0.3 * c for c in range(channels)]
    tiles = {"hfov_deg": 100.0, "size": (height, width)}
    lengths = torch.tensor([0, height, height, height + width])
    scene = random_scene(2, 2, (height, width), (width, height))
    return {
        "affine_warp": OpCall(
            "affine_warp",
            affine_warp,
            {"image": image, "theta": thetas(2)},
            ("image", "theta"),
            ("theta",),
            {"fill": fill},
        ),
        "equivariance_loss": OpCall(
            "equivariance_loss",
            equivariance_loss,
            {"maps": plain, "maps_warped": warped, "theta": thetas(2)},
            ("maps", "maps_warped"),
            ("theta",),
            {"coverage": True, "reduction": "none"},
        ),
        "e2p": OpCall(
            "e2p",
            e2p,
            {"erp": erp, "rotation": turned(3)},
            ("erp",),
            ("rotation",),
            tiles,
        ),
        "vicreg": OpCall(
            "vicreg",
            vicreg,
            {"x": x, "y": y, "offsets": lengths},
            ("x", "y"),
        ),
        "flow_gt": OpCall(
            "flow_gt", maps, scene, wide=("K_src", "K_dst", "dst_from_src"), options={"tol_abs": 8.0}
        ),
        "camera_warp": OpCall(
            "camera_warp",
            camera_warp,
            {"image": plain, **lenses(height, width)},
            ("image",),
            ("intrinsics", "distortion", "affine"),
            {"size": (height, width), "fill": fill},
        ),
    }
