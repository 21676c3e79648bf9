"""camera_warp: backends against the reference, bytes, conventions by hand, the fold, and errors."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from refkp.geometry.distortion import fold_radius
from refkp.ops import camera_warp
from refkp.ops.camera_warp import library
from tests.support.camera_scenes import camera, places
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
from tests.support.op_scenes import every_op, lenses

CAMERAS = ("intrinsics", "distortion", "affine")


def make_call(
    shape: Sequence[int] = (2, 3, 11, 14), size: Sequence[int] = (5, 7), scale: float = 1.0, **options: Any
) -> OpCall:
    """Images of a shape by two cameras (or fewer); `scale` shrinks the picture on the output."""
    image = torch.randn(*shape, dtype=torch.float64)
    cameras = {name: value[: shape[0]] for name, value in lenses(*shape[2:]).items()}
    cameras["affine"] = cameras["affine"] * scale
    return OpCall(
        "camera_warp",
        camera_warp,
        {"image": image, **cameras},
        ("image",),
        CAMERAS,
        {"size": tuple(size), "fill": 0.7, **options},
    )


SHAPES = {
    "odd": make_call(),
    "one pixel out": make_call(size=(1, 1)),
    "one pixel in": make_call((2, 1, 1, 1), size=(3, 4), scale=3.0),
    "one row": make_call((1, 2, 1, 9), size=(4, 9)),
    "one column": make_call((1, 2, 9, 1), size=(9, 4)),
    "partial chunk": make_call((1, 2, 13, 37), size=(3, 37)),
    "two chunks": make_call((1, 1, 7, 60), size=(2, 61)),
    "many channels": make_call((1, 9, 7, 12)),
    "no images": make_call((0, 3, 7, 12)),
    "no channels": make_call((1, 0, 7, 12)),
    "one sample": make_call(scale=0.4, antialias=False),
    "shrinks less than twice": make_call((1, 2, 11, 14), size=(4, 5), scale=0.6),
    "shrinks five times": make_call((1, 1, 17, 19), size=(4, 4), scale=0.2),
    "fill by channel": make_call(fill=[0.1, -2.0, 3.0]),
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("case", backend_cases())
def test_agrees_with_the_reference(case: Case, name: str) -> None:
    check_agreement(SHAPES[name], case)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [(1 / 30, 1 / 30), (1 / 30, 1.0), (1.0, 1 / 30), (0.13, 0.08)])
def test_large_footprints_agree_with_the_reference(scale: tuple[float, float], dtype: torch.dtype) -> None:
    """More rows, and rows of more columns, than a vector has lanes; turned, so that rows are shifted."""
    call = make_call((1, 2, 61, 83), size=(5, 7))
    turn = torch.tensor([[0.8, -0.6, 2.0], [0.6, 0.8, -3.0]], dtype=torch.float64)
    call.tensors["affine"] = turn * torch.tensor(scale, dtype=torch.float64)[None, :, None]
    check_agreement(call, Case("native", "cpu", dtype))


@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_gradients_match_finite_differences(scale: float) -> None:
    call = make_call((1, 1, 5, 6), size=(3, 3), scale=scale)
    check_gradients(call, "native")
    check_gradients(dataclasses.replace(call, gradients=("image", *CAMERAS)), "reference")


@pytest.mark.parametrize("case", cases_of("native", "triton"))
def test_the_operators_are_registered_correctly(case: Case) -> None:
    tensors = make_call().to(case.device, case.dtype).tensors
    cameras = [tensors[name] for name in CAMERAS]
    fill = [0.0, 0.5, 1.0]
    image = tensors["image"].requires_grad_()
    check_registration(library.camera_warp, (image, *cameras, 4, 3, True, fill, case.backend))
    grad = torch.rand(2, 3, 4, 3, device=case.device)
    check_registration(library.camera_warp_backward, (grad, *cameras, 11, 14, True, case.backend))


@pytest.mark.parametrize("case", cases_of("native", "triton"))
def test_compiles_without_a_graph_break(case: Case) -> None:
    check_compiles(make_call(size=(3, 4)), case)


@pytest.mark.parametrize("case", backend_cases())
def test_is_bitwise_repeatable(case: Case) -> None:
    check_deterministic(make_call(size=(3, 4)), case)


@pytest.mark.parametrize("case", backend_cases())
def test_strides_do_not_matter(case: Case) -> None:
    check_strides(make_call(size=(3, 4)), case)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_a_gradient_that_is_not_finite_spreads_as_in_the_reference(scale: float, dtype: torch.dtype) -> None:
    """To what the pixel weighs, and to nothing beside it in the same strip."""
    call = make_call((1, 2, 21, 34), size=(6, 9), scale=scale)
    image, cameras = call.tensors["image"], {name: call.tensors[name] for name in CAMERAS}
    gradients = []
    for backend, leaf in (("native", image.to(dtype)), ("reference", image)):
        leaf = leaf.clone().requires_grad_()
        out = camera_warp(leaf, **cameras, size=(6, 9), backend=backend)
        cotangent = torch.ones_like(out)
        cotangent[0, 1, 2, 4] = math.nan
        gradients.append(torch.autograd.grad(out, leaf, cotangent)[0])
    got, want = gradients
    assert 0 < int(want.isnan().sum()) < 60
    assert got.isnan().equal(want.isnan())


# ---- bytes ----


@pytest.mark.parametrize("backend", backend_names("native", "triton"))
@pytest.mark.parametrize("channels", [1, 3, 4, 5])
def test_bytes_are_the_rounded_floats_in_every_layout(channels: int, backend: str) -> None:
    pixels = torch.randint(0, 256, (2, 12, 17, channels), dtype=torch.uint8)
    planar = pixels.permute(0, 3, 1, 2).contiguous()
    for scale in (1.0, 0.5, 0.2):
        call = make_call((2, channels, 12, 17), size=(4, 6), scale=scale, fill=77.7)
        cameras = {name: call.tensors[name] for name in CAMERAS}
        want = camera_warp(planar.double(), **cameras, **call.options, backend="reference")
        for image in (planar, pixels.permute(0, 3, 1, 2), pixels.permute(0, 3, 1, 2)[..., ::1]):
            got = camera_warp(image, **cameras, **call.options, backend=backend)
            assert got.dtype == torch.uint8
            assert ((got.double() - want).abs() <= 0.51).all()


def test_bytes_of_some_channels_and_rows_of_an_image() -> None:
    rgba = torch.randint(0, 256, (2, 14, 20, 4), dtype=torch.uint8)
    part = rgba[:, 1:, 2:, 1:].permute(0, 3, 1, 2)  # three of four channels, up to the end of the buffer
    call = make_call((2, 3, 13, 18), size=(6, 9), scale=0.5)
    cameras = {name: call.tensors[name] for name in CAMERAS}
    got = camera_warp(part, **cameras, size=(6, 9), backend="native")
    assert torch.equal(got, camera_warp(part.contiguous(), **cameras, size=(6, 9), backend="native"))


@pytest.mark.parametrize("value", [0, 1, 200, 255])
def test_a_constant_picture_of_bytes_stays_constant(value: int) -> None:
    image = torch.full((1, 3, 64, 80), value, dtype=torch.uint8)
    call = make_call((1, 3, 64, 80), size=(20, 25), scale=0.3)
    cameras = {name: call.tensors[name] for name in CAMERAS}
    for layout in (image, image.contiguous(memory_format=torch.channels_last)):
        assert (camera_warp(layout, **cameras, size=(20, 25), fill=value, backend="native") == value).all()


# ---- conventions ----


@pytest.mark.parametrize("backend", backend_names())
def test_convention_a_point_of_the_output_shows_its_distorted_pixel(backend: str) -> None:
    """By hand, with all coefficients: u = 0.3, v = -0.2, s = 0.13."""
    k1, k2, p1, p2, k3 = -0.3, 0.1, 0.01, -0.02, 0.05
    view = camera(50.0, 80, 60, k1, k2, p1, p2, k3)
    view["affine"] = torch.tensor([[[2.0, 0.0, -108.5], [0.0, 3.0, -59.5]]], dtype=torch.float64)
    # The output pixel (1, 0), whose centre is (1.5, 0.5), is the ideal point (55, 20): 40 + 50 u, 30 + 50 v.
    u, v, s = 0.3, -0.2, 0.13
    radial = 1 + k1 * s + k2 * s**2 + k3 * s**3
    x = u * radial + 2 * p1 * u * v + p2 * (s + 2 * u * u)
    y = v * radial + p1 * (s + 2 * v * v) + 2 * p2 * u * v
    image = places(60, 80).to(torch.float64 if backend != "triton" else torch.float32)
    got = camera_warp(image, **view, size=(1, 2), backend=backend)[0, :, 0, 1].double()
    torch.testing.assert_close(got, torch.tensor([40 + 50 * x, 30 + 50 * y]).double(), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("backend", backend_names())
def test_convention_without_distortion_the_identity_copies_every_bit(backend: str) -> None:
    image = torch.randn(1, 2, 9, 13)
    assert torch.equal(camera_warp(image, **camera(17.3, 13, 9), size=(9, 13), backend=backend), image)


@pytest.mark.parametrize("backend", backend_names())
def test_convention_corners_are_at_zero_and_at_the_size(backend: str) -> None:
    """Halving by edge coordinates is the mean over 2 x 2 pixels: of their tents, by hand, 1, 7, 7, 1 sixteenths."""
    image = torch.rand(1, 2, 6, 10)
    view = camera(9.0, 10, 6)
    view["affine"] = view["affine"] / 2
    got = camera_warp(image, **view, size=(3, 5), backend=backend)
    weights = torch.tensor([1.0, 7.0, 7.0, 1.0]) / 16
    want = F.conv2d(image[0, :, None], torch.outer(weights, weights)[None, None], stride=2, padding=1)
    torch.testing.assert_close(got[0], want[:, 0])
    torch.testing.assert_close(
        camera_warp(image, **view, size=(3, 5), antialias=False, backend=backend), F.avg_pool2d(image, 2)
    )


def test_convention_the_fill_is_blended_by_coverage() -> None:
    view = camera(9.0, 4, 4)
    view["affine"][0, 0, 2] = 0.25  # the picture moves a quarter of a pixel to the right
    out = camera_warp(torch.ones(1, 1, 4, 4), **view, size=(4, 5), fill=3.0, backend="native")
    assert out[0, 0, 1].tolist() == [1.5, 1.0, 1.0, 1.0, 2.5]


# ---- the fold ----


@pytest.mark.parametrize("tangential", [(0.0, 0.0), (0.02, -0.03)])
@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("backend", backend_names("native", "reference"))
def test_never_shows_a_mirrored_picture(
    backend: str, antialias: bool, tangential: tuple[float, float]
) -> None:
    view = camera(30.0, 64, 64, -0.29, 0.0, *tangential)
    view["affine"] = torch.tensor([[[0.5, 0.0, 40.0], [0.0, 0.5, 40.0]]], dtype=torch.float64)
    out = camera_warp(
        places(64, 64), **view, size=(112, 112), fill=-1e6, antialias=antialias, backend=backend
    )
    v, u = torch.meshgrid(
        *(2 * (torch.arange(112.0) + 0.5 - 40) - 32,) * 2, indexing="ij"
    )  # 30 times too large
    beyond = (u.square() + v.square()).sqrt() > 30.01 * fold_radius(view["distortion"])
    assert (out[0, :, beyond] == -1e6).all()
    x, y = out[0]
    shown = (out > 0).all(1)[0]
    assert 100 < shown.sum() < 0.5 * shown.numel()
    neighbours = shown[1:, 1:] & shown[1:, :-1] & shown[:-1, 1:]
    right, down = (x[1:, 1:] - x[1:, :-1]), (y[1:, 1:] - y[:-1, 1:])
    across, along = (x[1:, 1:] - x[:-1, 1:]), (y[1:, 1:] - y[1:, :-1])
    assert ((right * down - across * along)[neighbours] > 0).all()


# ---- errors ----

IMAGE, VIEW = torch.rand(1, 3, 8, 10), camera(9.0, 10, 8)
BAD_ARGUMENTS: dict[str, tuple[dict[str, Any], str]] = {
    "image rank": ({"image": IMAGE[0]}, r"`image` must be \[B,C,H,W\]"),
    "image dtype": ({"image": IMAGE.int()}, "`image` must be of dtype uint8"),
    "image empty": ({"image": IMAGE[:, :, :0]}, "`image` must be at least 1 x 1 pixels"),
    "image extent": ({"image": torch.zeros(1, 1, 1, 1).expand(1, 1, 2**16, 2**16)}, "of fewer than 2"),
    "intrinsics shape": ({"intrinsics": VIEW["intrinsics"][0]}, r"`intrinsics` must be \[B,3,3\]"),
    "intrinsics row": ({"intrinsics": VIEW["intrinsics"] * 2}, r"`intrinsics` must be .* \(0, 0, 1\)"),
    "intrinsics singular": (
        {"intrinsics": torch.tensor([[[0.0, 0, 5], [0, 9, 4], [0, 0, 1]]])},
        "`intrinsics` must be invertible",
    ),
    "intrinsics finite": ({"intrinsics": VIEW["intrinsics"] * math.nan}, "`intrinsics` must be finite"),
    "distortion shape": ({"distortion": torch.zeros(1, 4)}, r"`distortion` must be \[B,5\]"),
    "distortion finite": ({"distortion": torch.full((1, 5), math.inf)}, "`distortion` must be finite"),
    "distortion device": ({"distortion": torch.zeros(1, 5, device="meta")}, "on the device of `image`"),
    "affine shape": ({"affine": torch.eye(3)[None]}, r"`affine` must be \[B,2,3\]"),
    "affine singular": ({"affine": torch.ones(1, 2, 3)}, "`affine` must be invertible"),
    "affine finite": ({"affine": torch.full((1, 2, 3), math.nan)}, "`affine` must be finite"),
    "size": ({"size": (0, 4)}, "`size` must be at least 1 x 1 pixels"),
    "size rank": ({"size": 4}, r"`size` must be \(height, width\)"),
    "fill": ({"fill": math.nan}, "`fill` must be finite"),
    "fill count": ({"fill": [1.0, 2.0]}, "`fill` must be a number or one per channel"),
    "fill of bytes": (
        {"image": IMAGE.byte(), "fill": 256.0},
        r"`fill` must be in \[0, 255\] for a uint8 image",
    ),
    "backend": ({"backend": "cuda"}, "`backend` must be one of"),
}


@pytest.mark.parametrize("backend", ["reference", "native"])
@pytest.mark.parametrize("name", BAD_ARGUMENTS)
def test_refuses_bad_arguments(name: str, backend: str) -> None:
    changed, message = BAD_ARGUMENTS[name]
    arguments = {"image": IMAGE, **VIEW, "size": (4, 4), "backend": backend, **changed}
    with pytest.raises(ValueError, match=message):
        camera_warp(**arguments)


@pytest.mark.parametrize("name", CAMERAS)
@pytest.mark.parametrize("backend", [None, *backend_names("native", "triton")])
def test_refuses_a_gradient_to_the_camera(backend: str | None, name: str) -> None:
    view = {**VIEW, name: VIEW[name].clone().requires_grad_()}
    with pytest.raises(NotImplementedError, match=f"no gradient to `{name}`.*backend='reference'"):
        camera_warp(IMAGE, **view, size=(4, 4), backend=backend)
    with torch.no_grad():
        camera_warp(IMAGE, **view, size=(4, 4), backend=backend)


@pytest.mark.parametrize("factor", [1e3, 1e9, 1e30])
def test_a_wild_lens_ends_and_shows_the_fill(factor: float) -> None:
    view = camera(9.0, 10, 8, factor, factor, factor, -factor, factor)
    view["affine"][0, :, 2] = 1e5
    assert (camera_warp(IMAGE, **view, size=(5, 6), fill=0.25, backend="native") == 0.25).all()


def test_the_scene_of_every_op_folds_nowhere() -> None:
    assert (fold_radius(every_op()["camera_warp"].tensors["distortion"]) > 0.9).all()
