"""camera_warp where it shrinks: against samples of the exact map, the moments of its filter, and far below a pixel."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from refkp.ops import camera_warp
from tests.support.camera_scenes import camera, places, turned_view
from tests.support.op_checks import backend_names


def supersampled(image: Tensor, cameras: dict[str, Tensor], size: tuple[int, int], factor: int) -> Tensor:
    """The mean of factor x factor samples of the exact map in each pixel."""
    fine = {**cameras, "affine": cameras["affine"] * factor}
    large = (size[0] * factor, size[1] * factor)
    return F.avg_pool2d(
        camera_warp(image, **fine, size=large, antialias=False, fill=0.5, backend="native"), factor
    )


#: Rms against 16 x 16 samples, over that of one sample, by the angle of the view. Measured worst: 0.0085, 0.082, 0.11;
#: 8 x 8 samples are off by 0.016, so that the first is what samples are off.
ERRORS = {0: 0.01, 15: 0.09, 45: 0.12}


@pytest.mark.parametrize("angle_deg", ERRORS)
@pytest.mark.parametrize("scale", [0.15, 0.3, 0.6, (0.2, 0.45)])
@pytest.mark.parametrize("lens", [(-0.29, 0.08, 0.001, -0.002, 0.01), (0.1, -0.02)])
def test_is_close_to_supersampling(
    lens: tuple[float, ...], scale: float | tuple[float, float], angle_deg: int
) -> None:
    """A turned square has other corners than the parallelogram of the same moments; an upright one has the same."""
    image = F.avg_pool2d(torch.rand(1, 2, 242, 322, dtype=torch.float64), 3, stride=1)
    view, size = camera(210.0, 320, 240, *lens), (24, 32)
    across, down = scale if isinstance(scale, tuple) else (scale, scale)
    view["affine"] = turned_view(angle_deg, across, down, (160.0, 120.0), size)
    want = supersampled(image, view, size, 16)
    error = (camera_warp(image, **view, size=size, fill=0.5, backend="native") - want).square().mean().sqrt()
    plain = camera_warp(image, **view, size=size, fill=0.5, antialias=False, backend="native")
    assert error < ERRORS[angle_deg] * (plain - want).square().mean().sqrt()


@pytest.mark.parametrize("backend", backend_names("native", "reference"))
@pytest.mark.parametrize("angle_deg", [0, 20, -60])
@pytest.mark.parametrize("scale", [(0.2, 0.2), (0.12, 0.5), (0.12, 0.7)])
def test_the_filter_has_the_covariance_of_footprint_and_tent(
    scale: tuple[float, float], angle_deg: int, backend: str
) -> None:
    """(A A^T + 2) / 12, over many pixels, where no side is a sample."""
    x, y = (places(400, 500) - torch.tensor([250.0, 200.0]).view(1, 2, 1, 1)).unbind(1)
    image, size = torch.stack([x, y, x * x, x * y, y * y], dim=1), (8, 8)
    view = {**camera(500.0, 500, 400), "affine": turned_view(angle_deg, *scale, (250.3, 200.7), size)}
    out = camera_warp(image, **view, size=size, backend=backend)[0]
    covariance = torch.stack([out[2] - out[0] ** 2, out[3] - out[0] * out[1], out[4] - out[1] ** 2]).mean(
        (1, 2)
    )
    A = torch.linalg.inv(view["affine"][0, :, :2])
    S = A @ A.T
    tent = torch.tensor([1.0, 0.0, 1.0]).double() / 6
    want = torch.stack([S[0, 0], S[0, 1], S[1, 1]]) / 12 + tent
    torch.testing.assert_close(covariance, want, rtol=1e-3, atol=1e-3)


def test_a_large_picture_on_few_pixels_is_the_mean_of_its_parts() -> None:
    image = torch.rand(1, 1, 1500, 2000)
    view = camera(1500.0, 2000, 1500)
    view["affine"] = torch.tensor([[[8 / 2000, 0.0, 0.0], [0.0, 8 / 1500, 0.0]]], dtype=torch.float64)
    got = camera_warp(image, **view, size=(8, 8), backend="native")
    parts = F.interpolate(image, (8, 8), mode="area")
    assert (got - parts).abs().max() < 1e-3


@pytest.mark.parametrize("backend", backend_names("native", "reference"))
@pytest.mark.parametrize("times", [1e4, 1e9])
def test_a_picture_that_is_far_less_than_a_pixel_is_blended_by_its_area(times: float, backend: str) -> None:
    image, view = torch.rand(1, 3, 8, 10), camera(9.0, 10, 8)
    view["affine"][0] = torch.tensor([[1 / times, 0.0, 0.5], [0.0, 1 / times, 0.5]])
    out = camera_warp(1e8 * image, **view, size=(1, 1), fill=0.25, backend=backend)
    want = 0.25 + image.double().sum((2, 3), keepdim=True) * 1e8 / times**2
    torch.testing.assert_close(out.double(), want, rtol=1e-4, atol=1e-6)
