"""camera_warp: pictures of 1280 x 1024 to 224 x 224, against OpenCV's undistort and resize."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.support import Compare, Row, nbytes
from refkp.ops import camera_warp
from refkp.peers import camera_warp as peers

HEIGHT, WIDTH, SIDE = 1024, 1280, 224
LENSES = {"typical": (800.0, (-0.29, 0.08, 0.0, 0.0, 0.0)), "long": (960.0, (-0.2, 0.03, 1e-3, -5e-4, 0.0))}


def picture() -> Tensor:
    """[H,W,3] bytes with detail at every scale."""
    generator = torch.Generator().manual_seed(0)
    total = torch.zeros(1, 3, HEIGHT, WIDTH)
    for step in (4, 8, 16, 64, 256):
        noise = torch.randn(1, 3, HEIGHT // step, WIDTH // step, generator=generator)
        total += step**0.5 * F.interpolate(noise, (HEIGHT, WIDTH), mode="bicubic")
    return (128 + 40 * total / total.std()).clamp(0, 255).byte()[0].permute(1, 2, 0).contiguous()


def cameras(name: str) -> tuple[Tensor, Tensor, Tensor]:
    """K [3,3], distortion [5] and affine [2,3], float64."""
    focal, lens = LENSES[name]
    K = torch.tensor([[focal, 0.0, 645.0], [0.0, 1.01 * focal, 508.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    affine = torch.tensor([[SIDE / WIDTH, 0.0, 0.0], [0.0, SIDE / HEIGHT, 0.0]], dtype=torch.float64)
    return K, torch.tensor(lens, dtype=torch.float64), affine


def supersampled(image: Tensor, K: Tensor, distortion: Tensor, affine: Tensor) -> Tensor:
    """8 x 8 samples of the exact map in each pixel."""
    fine = camera_warp(
        image.float(), K[None], distortion[None], 8 * affine[None], size=(8 * SIDE, 8 * SIDE), antialias=False
    )
    return F.avg_pool2d(fine, 8)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32], ids=["uint8", "float32"])
@pytest.mark.parametrize("layout", ["interleaved", "planar"])
@pytest.mark.parametrize("lens", LENSES)
def test_bench_camera_warp(lens: str, layout: str, dtype: torch.dtype, compare: Compare) -> None:
    pytest.importorskip("cv2", reason="needs the extra `multiview`")
    pixels = picture().to(dtype)
    K, distortion, affine = cameras(lens)
    image = pixels.permute(2, 0, 1)[None]
    image = image if layout == "interleaved" else image.contiguous()
    cached = peers.cached_remap_and_resize(pixels, K, distortion, SIDE)
    compare(
        Row(
            op="camera_warp",
            mode=f"forward {lens} {layout}",
            shape=image.shape,
            dtype=dtype,
            ours=lambda: camera_warp(image, K[None], distortion[None], affine[None], size=(SIDE, SIDE)),
            peers={
                "cv2.undistort, resize": lambda: peers.undistort_and_resize(pixels, K, distortion, SIDE),
                "cv2.remap with cached maps, resize": cached,
            },
            reference=lambda: supersampled(image, K, distortion, affine),
            target=3.0,
            bytes=nbytes(image) + 3 * SIDE * SIDE * image.element_size(),
            tolerance=2.5e-3,  # rounding to bytes: 0.5 of 255
            peer_tolerance=5e-2,
        )
    )


@pytest.mark.parametrize("lens", LENSES)
def test_error_is_a_third_of_that_of_opencv(lens: str) -> None:
    """Against 8 x 8 samples of the exact map, before rounding to bytes; most of our error is that of the samples."""
    pytest.importorskip("cv2", reason="needs the extra `multiview`")
    pixels = picture()
    K, distortion, affine = cameras(lens)
    image = pixels.permute(2, 0, 1)[None]
    want = supersampled(image, K, distortion, affine)
    inner = (..., slice(8, -8), slice(8, -8))
    ours = camera_warp(image.float(), K[None], distortion[None], affine[None], size=(SIDE, SIDE)) - want
    theirs = peers.undistort_and_resize(pixels.float(), K, distortion, SIDE) - want
    assert 3 * ours[inner].square().mean().sqrt() < theirs[inner].square().mean().sqrt()
