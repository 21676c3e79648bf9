"""e2p with antialias="mip": backends against the reference, laws of the pyramid, and its quality."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from refkp.ops import e2p
from refkp.ops.e2p import library
from refkp.ops.e2p.camera import level_count, pyramid_elements, sample_count
from tests.ops.test_e2p import CONVENTIONS, VIEWS, lon_lat_image, make_call, turn
from tests.support.op_call import Case, OpCall
from tests.support.op_checks import (
    backend_cases,
    backend_names,
    cases_of,
    check_agreement,
    check_compiles,
    check_deterministic,
    check_gradients,
    check_registration,
    check_strides,
)


def mip_call(erp_shape: tuple[int, ...] = (1, 2, 16, 32), **options: Any) -> OpCall:
    return make_call(erp_shape, size=options.pop("size", (3, 5)), antialias="mip", **options)


SHAPES = {
    "odd tiles": mip_call((1, 2, 32, 64)),
    "one pixel": mip_call((1, 2, 32, 64), size=(1, 1)),
    "partial chunk": mip_call((1, 3, 64, 128), size=(3, 37)),
    "two halvings": mip_call((1, 2, 24, 40)),
    "no halving, several samples": mip_call((1, 1, 23, 46)),
    "a halving, several samples": mip_call((1, 1, 22, 44), size=(2, 3)),
    "tall erp": mip_call((1, 1, 64, 16)),
    "wide erp": mip_call((1, 1, 8, 128)),
    "two by two": mip_call((1, 1, 1, 2)),
    "level 0 alone": mip_call((1, 2, 8, 16), size=(9, 7)),
    "one image each": mip_call((3, 1, 16, 32)),
    "image index": mip_call((2, 3, 16, 32), image_index=torch.tensor([1, 0, 1])),
    "many channels": mip_call((1, 11, 16, 32), views=VIEWS[:1]),
    "no tiles": mip_call(views=VIEWS[:0]),
    "no images": mip_call((0, 2, 8, 16), views=VIEWS[:0]),
    "no channels": mip_call((1, 0, 16, 32)),
    "fov per tile": mip_call((1, 2, 32, 64), hfov_deg=[20.0, 80.0, 150.0], vfov_deg=60.0),
    "equilib, odd width": mip_call((1, 2, 16, 27), convention="equilib"),
}
SHAPES |= {f"{name} bilinear": mip_call((1, 2, 32, 64), convention=name) for name in CONVENTIONS}
SHAPES |= {  # without the third view, whose middle lies between two columns
    f"{name} nearest": mip_call((1, 2, 32, 64), convention=name, mode="nearest", views=VIEWS[:2])
    for name in CONVENTIONS
}


# ---- every backend ----


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("case", backend_cases())
def test_agrees_with_the_reference(case: Case, name: str) -> None:
    check_agreement(SHAPES[name], case)


@pytest.mark.parametrize("options", [{}, {"convention": "equilib"}, {"mode": "nearest"}], ids=str)
def test_gradients_match_finite_differences(options: dict[str, Any]) -> None:
    call = mip_call((1, 1, 8, 16), size=(2, 3), views=VIEWS[:2], **options)
    check_gradients(call, "native")
    check_gradients(call, "reference")


def test_the_reference_has_a_gradient_to_the_rotation() -> None:
    call = mip_call((1, 1, 8, 16), size=(2, 3), views=VIEWS[:2])
    check_gradients(OpCall("e2p", e2p, call.tensors, ("erp", "rotation"), options=call.options), "reference")


@pytest.mark.parametrize("case", cases_of("native", "triton"))
def test_the_operators_are_registered_correctly(case: Case) -> None:
    call = mip_call((2, 2, 8, 16)).to(case.device, case.dtype)
    erp, rotation = call.tensors["erp"], call.tensors["rotation"]
    index = torch.tensor([0, 1, 1], device=case.device)
    options = ("canonical", "bilinear", "mip", case.backend)
    tangents = ([1.0], [0.5])
    check_registration(library.e2p, (erp.requires_grad_(), rotation, index, *tangents, 2, 3, *options))
    grad = torch.rand(3, 2, 2, 3, device=case.device)
    check_registration(library.e2p_backward, (grad, rotation, index, *tangents, 2, 8, 16, *options))


@pytest.mark.parametrize("case", cases_of("native", "triton"))
def test_compiles_without_a_graph_break(case: Case) -> None:
    check_compiles(mip_call((1, 2, 8, 16), hfov_deg=[50.0, 60.0, 70.0], size=(2, 3)), case)


@pytest.mark.parametrize("case", backend_cases())
def test_is_bitwise_repeatable(case: Case) -> None:
    check_deterministic(mip_call((2, 2, 16, 32), image_index=torch.tensor([0, 1, 0])), case)


def test_gradients_do_not_depend_on_the_number_of_threads() -> None:
    call = mip_call((1, 2, 128, 256), size=(30, 40)).to("cpu", torch.float32)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        want = call.run("native")["grad_erp"]
        torch.set_num_threads(4)
        assert torch.equal(call.run("native")["grad_erp"], want)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("case", backend_cases())
def test_strides_do_not_matter(case: Case) -> None:
    check_strides(mip_call((1, 2, 32, 64)), case)


@pytest.mark.parametrize("case", cases_of("native", "triton"))
def test_the_gradient_is_the_adjoint(case: Case) -> None:
    call = mip_call((1, 2, 32, 64)).to(case.device, torch.float32)
    erp = call.tensors["erp"].requires_grad_()
    out = call.outputs(case.backend)["output"]
    weight = torch.randn(out.shape).to(out)
    (grad,) = torch.autograd.grad(out, erp, weight)
    torch.testing.assert_close((out * weight).sum(), (erp * grad).sum(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backend", backend_names("native", "triton"))
@pytest.mark.parametrize("channels", [1, 3, 4, 5])
def test_bytes_are_sampled_like_floats_in_every_layout(channels: int, backend: str) -> None:
    pixels = torch.randint(0, 256, (2, 16, 48, channels + 1), dtype=torch.uint8)[:, :, 8:40, 1:]
    interleaved = pixels.permute(
        0, 3, 1, 2
    )  # a window without the first channel, up to the end of the buffer
    options = {"hfov_deg": 100.0, "size": (3, 4), "antialias": "mip", "backend": backend}
    options["image_index"] = torch.tensor([1, 0, 1])
    want = e2p(interleaved.float().contiguous(), VIEWS, **options)
    torch.testing.assert_close(e2p(interleaved, VIEWS, **options), want, rtol=0, atol=1e-4)
    torch.testing.assert_close(e2p(interleaved.contiguous(), VIEWS, **options), want, rtol=0, atol=1e-4)


# ---- laws of the pyramid ----


def test_levels_are_those_that_the_tile_needs_and_the_image_has() -> None:
    size = (2048, 4096)  # can be halved eleven times
    for span, wanted in ((1.0, 0), (math.sqrt(2), 0), (1.5, 1), (5.82, 3), (8 * math.sqrt(2), 3), (1e5, 11)):
        assert level_count(size, span, "mip") == wanted
        assert level_count(size, span, "box") == level_count(size, span, "none") == 0
    for size, halvings in (
        ((1000, 2000), 3),
        ((6, 12), 1),
        ((6, 8), 1),
        ((5, 16), 0),
        ((8, 14), 0),
        ((8, 7), 0),
    ):
        assert level_count(size, 100.0, "mip") == halvings
        assert sample_count(size, 100.0, "mip") == math.ceil(100 / math.sqrt(2) / 2**halvings)
    assert pyramid_elements((2, 3, 8, 16), 2) == 6 * (4 * 8 + 2 * 4)
    assert pyramid_elements((2, 3, 8, 16), 0) == 0


@pytest.mark.parametrize("backend", backend_names())
def test_a_linear_image_is_the_same_on_all_levels(backend: str) -> None:
    """Means and positions of all levels fit together: off seam and poles, "mip" shows what "none" does."""
    erp = lon_lat_image(128, 256).float()
    options = {"hfov_deg": 60.0, "size": (3, 4), "backend": backend}
    views = torch.stack([turn(20, 10, 5), turn(-70, -30)])
    for convention in CONVENTIONS:
        plain = e2p(erp, views, convention=convention, **options)
        mip = e2p(erp, views, convention=convention, antialias="mip", **options)
        torch.testing.assert_close(mip, plain, rtol=0, atol=2e-4)


@pytest.mark.parametrize("case", cases_of("native", "triton"))
def test_a_constant_image_stays_constant(case: Case) -> None:
    erp = torch.full((1, 1, 32, 64), 0.7, device=case.device)
    views = torch.stack([*VIEWS, turn(pitch=90), turn(yaw=180, pitch=-90)]).to(case.device)
    out = e2p(erp, views, hfov_deg=100.0, size=(5, 6), antialias="mip", backend=case.backend)
    torch.testing.assert_close(out, torch.full_like(out, 0.7), rtol=0, atol=1e-6)


def test_a_chequered_image_is_grey_from_level_one_on() -> None:
    row = torch.arange(32)[:, None] + torch.arange(64)
    erp = (row % 2).double()[None, None]
    options = {"hfov_deg": 90.0, "antialias": "mip", "backend": "native"}
    coarse = e2p(erp, VIEWS, size=(4, 4), **options)  # spans 5 pixels; 2.8 in the corners
    torch.testing.assert_close(coarse, torch.full_like(coarse, 0.5))
    fine = e2p(erp, VIEWS, size=(15, 15), **options)  # spans 1.4 pixels: level 0
    assert fine.std() > 0.1


def test_quarter_turns_are_bitwise_circular_shifts() -> None:
    erp = torch.rand(1, 2, 32, 64)
    quarter = torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]], dtype=torch.float64)
    options = {"hfov_deg": 90.0, "size": (5, 40), "antialias": "mip", "backend": "native"}
    turned = e2p(erp, (quarter @ VIEWS[0])[None], **options)
    assert torch.equal(turned, e2p(erp.roll(-16, 3), VIEWS[:1], **options))


def test_a_batch_is_its_tiles() -> None:
    erp, index, fov = torch.rand(2, 2, 32, 64), torch.tensor([1, 0, 1]), [40.0, 90.0, 120.0]
    options = {"size": (4, 5), "antialias": "mip", "backend": "native"}
    batch = e2p(erp, VIEWS, hfov_deg=fov, image_index=index, **options)
    tiles = [
        e2p(erp[i : i + 1], VIEWS[n : n + 1], hfov_deg=fov[n], **options)
        for n, i in enumerate(index.tolist())
    ]
    torch.testing.assert_close(batch, torch.cat(tiles))  # not bitwise: a tile alone may need fewer levels


def test_an_image_that_cannot_be_halved_gets_more_samples() -> None:
    erp = torch.rand(1, 2, 25, 50)
    options = {"hfov_deg": 90.0, "backend": "native"}
    s = sample_count((25, 50), 0.4 * 25 / math.pi, "mip")
    assert s == 3
    want = F.avg_pool2d(e2p(erp, VIEWS, size=(5 * s, 5 * s), **options), s)
    torch.testing.assert_close(e2p(erp, VIEWS, size=(5, 5), antialias="mip", **options), want)


# ---- quality ----


def psnr(image: Tensor, want: Tensor) -> Tensor:
    """Of each tile, in dB below 255."""
    return 10 * torch.log10(255**2 / (image - want).double().square().mean((1, 2, 3)))


def qualities(erp: Tensor, side: int) -> dict[str, Tensor]:
    """PSNR against 8 x 8 supersampling at pitches of 0, 22.5, 45 and 90 degrees."""
    views = torch.stack([turn(30, pitch) for pitch in (0, 22.5, 45, 90)])

    def render(size: int, antialias: str = "none") -> Tensor:
        return e2p(erp, views, hfov_deg=90.0, size=(size, size), antialias=antialias, backend="native")

    want = F.avg_pool2d(render(8 * side), 8)
    shrunk = F.interpolate(render(3 * side), size=(side, side), mode="bilinear", align_corners=False)
    tiles = {"shrunk": shrunk, "box": render(side, "box"), "mip": render(side, "mip")}
    return {name: psnr(tile, want) for name, tile in tiles.items()}


def test_mip_comes_close_to_eight_fold_supersampling_of_noise() -> None:
    quality = qualities(255 * torch.rand(1, 1, 256, 512), 28)
    assert (quality["mip"] - quality["shrunk"]).min() > 10
    assert (quality["box"] - quality["mip"]).min() > 3


@pytest.mark.realdata
@pytest.mark.skipif("REFKP_DATA" not in os.environ, reason="needs $REFKP_DATA")
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_both_beat_the_threefold_render_by_three_decibels(dtype: torch.dtype) -> None:
    """Of a photograph, at 5.8 ERP pixels per tile pixel as for 224 pixels of a 4096 x 2048 panorama."""
    Image = pytest.importorskip("PIL.Image", reason="needs the extra `panorama`")
    path = Path(os.environ["REFKP_DATA"]) / "panorama" / "pano_outdoor_2048.jpg"
    pixels = np.array(Image.open(path).convert("RGB"))
    quality = qualities(torch.from_numpy(pixels).permute(2, 0, 1)[None].to(dtype), 112)
    assert (quality["mip"] - quality["shrunk"]).min() > 3
    assert (quality["box"] - quality["shrunk"]).min() > 20
