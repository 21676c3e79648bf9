"""e2p of pictures as they are decoded: bytes, interleaved or planar, whole or in part."""

from __future__ import annotations

import pytest
import torch

from refkp.ops import e2p
from tests.ops.test_e2p import VIEWS, turn
from tests.support.op_checks import backend_names


@pytest.mark.parametrize("backend", backend_names("native", "triton"))
@pytest.mark.parametrize("channels", [1, 3, 4, 5])
def test_bytes_are_sampled_like_floats_in_every_layout(channels: int, backend: str) -> None:
    pixels = torch.randint(0, 256, (1, 12, 24, channels), dtype=torch.uint8)
    planar = pixels.permute(0, 3, 1, 2).contiguous()
    views = torch.cat([VIEWS, turn(170, -89)[None]])
    for mode in ("bilinear", "nearest"):
        options = {"hfov_deg": 100.0, "size": (7, 33), "mode": mode, "backend": backend}
        want = e2p(planar.float(), views, **options)
        assert want.dtype == torch.float32
        torch.testing.assert_close(e2p(planar, views, **options), want, rtol=0, atol=1e-4)
        torch.testing.assert_close(e2p(pixels.permute(0, 3, 1, 2), views, **options), want, rtol=0, atol=1e-4)


def test_bytes_of_some_channels_and_rows_of_an_image() -> None:
    rgba = torch.randint(0, 256, (2, 14, 30, 4), dtype=torch.uint8)
    part = rgba[:, 1:13, 2:26, 1:].permute(
        0, 3, 1, 2
    )  # three of four channels, a window, up to the end of the buffer
    options = {
        "hfov_deg": 100.0,
        "size": (7, 33),
        "image_index": torch.tensor([1, 0, 1]),
        "backend": "native",
    }
    torch.testing.assert_close(
        e2p(part, VIEWS, **options), e2p(part.contiguous(), VIEWS, **options), rtol=0, atol=1e-4
    )
