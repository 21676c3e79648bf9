"""Resizing against Pillow; its gradient and errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from refkp.systems.panorama.views.resize import resize, resize_matrix

image = pytest.importorskip("PIL.Image", reason="needs the extra `viz`")


@pytest.mark.parametrize("kernel", ["bicubic", "lanczos"])
@pytest.mark.parametrize(
    ("source", "target"),
    [
        ((96, 192), (32, 32)),
        ((80, 48), (32, 32)),
        ((30, 32), (32, 32)),
        ((21, 48), (33, 17)),
        ((7, 5), (64, 9)),
    ],
)
def test_equals_pillow(kernel: str, source: tuple[int, int], target: tuple[int, int]) -> None:
    """To the byte, but for sums that lie on a half; float results differ by the roundings alone."""
    pixels = np.random.default_rng(0).integers(0, 256, (*source, 3), dtype=np.uint8)
    filters = image.Resampling
    want = np.array(image.fromarray(pixels).resize(target[::-1], getattr(filters, kernel.upper()))).astype(
        int
    )
    planes = torch.from_numpy(pixels).permute(2, 0, 1).double() / 255
    got = (255 * resize(planes, target, kernel, to_bytes=True)).permute(1, 2, 0).numpy()
    assert np.abs(got - want).max() <= 1
    assert np.mean(got.round() != want) < 0.01
    exact = (255 * resize(planes, target, kernel)).permute(1, 2, 0).numpy()
    assert np.abs(exact - want).max() < 1.5


def test_rows_of_the_matrix_sum_to_one() -> None:
    for source, target in ((10, 3), (3, 10), (5, 5)):
        matrix = resize_matrix(source, target, "lanczos")
        torch.testing.assert_close(matrix.sum(1), torch.ones(target, dtype=torch.float64))
    torch.testing.assert_close(resize_matrix(5, 5, "lanczos"), torch.eye(5, dtype=torch.float64))


def test_gradient() -> None:
    pixels = 0.3 + 0.4 * torch.rand(2, 6, 9, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: resize(x, (4, 12)), pixels.requires_grad_())


def test_a_matrix_first_used_for_inference_serves_training() -> None:
    pixels = torch.rand(3, 7, 11, dtype=torch.float64, requires_grad=True)
    with torch.inference_mode():
        resize(pixels, (4, 5))
    resize(pixels, (4, 5)).sum().backward()
    assert pixels.grad is not None


def test_errors() -> None:
    with pytest.raises(ValueError, match="Divide bytes"):
        resize(torch.zeros(4, 4, dtype=torch.uint8), (2, 2))
    with pytest.raises(ValueError, match="'lanczos'"):
        resize(torch.zeros(4, 4), (2, 2), "hamming")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="positive"):
        resize(torch.zeros(4, 4), (0, 2))
