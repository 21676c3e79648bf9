"""e2p: backends against the reference, conventions against hand-derived directions, laws of the sphere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from refkp.ops import e2p
from refkp.ops.e2p import library
from refkp.ops.e2p.camera import erp_span, sample_count
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

CONVENTIONS = ("canonical", "py360convert", "equilib")


def turn(yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> Tensor:
    """Ry(yaw) Rx(pitch) Rz(roll) in degrees, [3,3] float64, written out as in spec panorama 1.1."""
    y, p, r = (math.radians(angle) for angle in (yaw, pitch, roll))
    about_z = [[math.cos(r), math.sin(r), 0], [-math.sin(r), math.cos(r), 0], [0, 0, 1]]
    about_x = [[1, 0, 0], [0, math.cos(p), math.sin(p)], [0, -math.sin(p), math.cos(p)]]
    about_y = [[math.cos(y), 0, math.sin(y)], [0, 1, 0], [-math.sin(y), 0, math.cos(y)]]
    z, x, y_ = (torch.tensor(matrix, dtype=torch.float64) for matrix in (about_z, about_x, about_y))
    return y_ @ x @ z


VIEWS = torch.stack([turn(31, 12, 5), turn(-172, -55, 0), turn(90, 62, -20)])


def make_call(
    erp_shape: Sequence[int] = (1, 2, 17, 34),
    views: Tensor = VIEWS,
    size: Sequence[int] = (5, 7),
    **options: Any,
) -> OpCall:
    erp = torch.rand(*erp_shape, dtype=torch.float64)
    options = {"hfov_deg": 80.0, "size": tuple(size), **options}
    return OpCall("e2p", e2p, {"erp": erp, "rotation": views}, ("erp",), wide=("rotation",), options=options)


SHAPES = {
    "odd tiles": make_call(),
    "one pixel": make_call(size=(1, 1)),
    "wide erp, partial chunk": make_call((1, 3, 11, 50), size=(3, 37)),
    "tall erp": make_call((1, 1, 31, 14), size=(9, 4)),
    "two by two": make_call((1, 1, 1, 2)),
    "one image each": make_call((3, 1, 13, 26)),
    "image index": make_call((2, 1, 13, 26), image_index=torch.tensor([1, 0, 1])),
    "many channels": make_call((1, 11, 7, 12), views=VIEWS[:1]),
    "no tiles": make_call(views=VIEWS[:0]),
    "no images": make_call((0, 2, 5, 8), views=VIEWS[:0]),
    "no channels": make_call((1, 0, 5, 8)),
    "fov per tile": make_call(hfov_deg=[40.0, 80.0, 130.0], vfov_deg=60.0),
    "box": make_call((1, 2, 11, 22), size=(2, 3), antialias="box"),
    "box, fov per tile": make_call((1, 1, 10, 24), size=(3, 3), antialias="box", hfov_deg=[30.0, 60.0, 90.0]),
}
SHAPES |= {f"{name} nearest": make_call(mode="nearest", convention=name) for name in CONVENTIONS}
SHAPES |= {
    f"{name} bilinear": make_call((1, 2, 14, 26), convention=name, vfov_deg=72.0) for name in CONVENTIONS
}
SHAPES |= {"equilib, odd erp": make_call((1, 2, 13, 27), convention="equilib")}


# ---- every op ----


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("case", backend_cases())
def test_agrees_with_the_reference(case: Case, name: str) -> None:
    check_agreement(SHAPES[name], case)


@pytest.mark.parametrize(
    "options", [{}, {"convention": "equilib"}, {"antialias": "box"}, {"mode": "nearest"}], ids=str
)
def test_gradients_match_finite_differences(options: dict[str, Any]) -> None:
    call = make_call((1, 2, 6, 12), size=(3, 4), **options)
    check_gradients(call, "native")
    check_gradients(call, "reference")


def test_the_reference_has_a_gradient_to_the_rotation() -> None:
    call = make_call((1, 2, 6, 12), size=(3, 4))
    check_gradients(OpCall("e2p", e2p, call.tensors, ("erp", "rotation"), options=call.options), "reference")


@pytest.mark.parametrize("case", cases_of("native", "triton"))
def test_the_operators_are_registered_correctly(case: Case) -> None:
    call = make_call((2, 2, 6, 12)).to(case.device, case.dtype)
    erp, rotation = call.tensors["erp"], call.tensors["rotation"]
    index = torch.tensor([0, 1, 1], device=case.device)
    options = ("canonical", "bilinear", "none", case.backend)
    tangents = ([1.0], [0.5])
    check_registration(library.e2p, (erp.requires_grad_(), rotation, index, *tangents, 3, 4, *options))
    grad = torch.rand(3, 2, 3, 4, device=case.device)
    check_registration(library.e2p_backward, (grad, rotation, index, *tangents, 2, 6, 12, *options))


@pytest.mark.parametrize("case", cases_of("native", "triton"))
def test_compiles_without_a_graph_break(case: Case) -> None:
    check_compiles(make_call((1, 2, 6, 12)), case)
    check_compiles(make_call((1, 2, 6, 12), hfov_deg=[50.0, 60.0, 70.0], antialias="box"), case)


@pytest.mark.parametrize("case", backend_cases())
def test_is_bitwise_repeatable(case: Case) -> None:
    check_deterministic(make_call((2, 2, 9, 18), image_index=torch.tensor([0, 1, 0]), antialias="box"), case)


def test_gradients_do_not_depend_on_the_number_of_threads() -> None:
    call = make_call((1, 2, 40, 80), size=(30, 40)).to("cpu", torch.float32)
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
    check_strides(make_call(), case)


def test_has_no_second_derivative() -> None:
    erp = torch.rand(1, 1, 4, 8, requires_grad=True)
    out = e2p(erp, torch.eye(3)[None], hfov_deg=60.0, size=(2, 2), backend="native")
    (grad,) = torch.autograd.grad(out.square().sum(), erp, create_graph=True)
    with pytest.raises(RuntimeError):
        torch.autograd.grad(grad.sum(), erp)


# ---- conventions ----


def lon_lat_image(height: int, width: int) -> Tensor:
    """[1,2,H,W] float64: longitude and latitude in degrees of pixel centres; bilinear is exact on them."""
    lon = ((torch.arange(width, dtype=torch.float64) + 0.5) / width - 0.5) * 360
    lat = (0.5 - (torch.arange(height, dtype=torch.float64) + 0.5) / height) * 180
    return torch.stack([lon.expand(height, width), lat[:, None].expand(height, width)])[None]


def looks_at(rotation: Tensor, **options: Any) -> Tensor:
    """Longitude and latitude in degrees of every tile pixel, [2,h,w]."""
    return e2p(lon_lat_image(90, 180), rotation[None], backend="native", **options)[0]


def test_convention_yaw_is_right_and_pitch_is_up() -> None:
    at = looks_at(turn(yaw=40, pitch=25), hfov_deg=1.0, size=(1, 1)).flatten()
    torch.testing.assert_close(at, torch.tensor([40.0, 25.0], dtype=torch.float64))


@pytest.mark.parametrize(
    ("rotation", "lon", "lat"), [(turn(roll=20), 43.2192, -13.9954), (turn(pitch=30), 49.1066, 20.7048)]
)
def test_convention_right_edge_of_a_turned_view(rotation: Tensor, lon: float, lat: float) -> None:
    at = looks_at(rotation, hfov_deg=90.0, size=(3, 3), convention="py360convert")[:, 1, 2]
    torch.testing.assert_close(at, torch.tensor([lon, lat], dtype=torch.float64), rtol=0, atol=1e-4)


def test_convention_pixel_grids() -> None:
    grids = {
        "canonical": (-0.75, -0.25, 0.25, 0.75),
        "py360convert": (-1, -1 / 3, 1 / 3, 1),
        "equilib": (-1, -0.5, 0, 0.5),
    }
    for convention, tangents in grids.items():
        at = looks_at(torch.eye(3), hfov_deg=90.0, size=(4, 4), convention=convention)
        pixel = 2.0 if convention == "equilib" else 0.0  # one ERP pixel of two degrees to the right and down
        want = torch.tensor([math.degrees(math.atan(t)) for t in tangents], dtype=torch.float64)
        row = 2 if convention == "equilib" else 0
        torch.testing.assert_close(at[0, row], want + pixel)
        assert at[1, 0, 0] > at[1, 1, 0] > at[1, 3, 0]  # rows go down
    middle = looks_at(torch.eye(3), hfov_deg=90.0, size=(4, 4), convention="equilib")[:, 2, 2]
    torch.testing.assert_close(middle, torch.tensor([2.0, -2.0], dtype=torch.float64))


def test_convention_one_column_of_py360convert_is_the_first_of_its_grid() -> None:
    at = looks_at(torch.eye(3), hfov_deg=90.0, size=(1, 1), convention="py360convert").flatten()
    torch.testing.assert_close(
        at, torch.tensor([-45.0, math.degrees(math.atan(math.sqrt(0.5)))], dtype=torch.float64)
    )


def test_convention_pixels_are_square_without_a_vertical_fov() -> None:
    vertical = math.degrees(2 * math.atan(math.tan(math.radians(40)) * 3 / 8))
    for convention, vfov in (("canonical", vertical), ("equilib", vertical), ("py360convert", 80.0)):
        options = {"hfov_deg": 80.0, "size": (3, 8), "convention": convention}
        torch.testing.assert_close(
            looks_at(VIEWS[0], **options), looks_at(VIEWS[0], vfov_deg=vfov, **options)
        )


@pytest.mark.parametrize("backend", backend_names())
def test_convention_nearest_rounds_halves(backend: str) -> None:
    columns = torch.arange(8.0).expand(1, 1, 4, 8).clone()
    options = {"hfov_deg": 1.0, "size": (1, 1), "mode": "nearest", "backend": backend}
    # The middle lies at ERP index 3.5, in equilib at 4.5.
    assert e2p(columns, torch.eye(3)[None], **options).item() == 4.0
    axis = {"hfov_deg": 1.0, "size": (2, 2), "mode": "nearest", "backend": backend, "convention": "equilib"}
    assert e2p(columns, torch.eye(3)[None], **axis)[0, 0, 1, 1] == 4.0
    assert e2p(columns[..., :6].clone(), torch.eye(3)[None], **axis)[0, 0, 1, 1] == 4.0  # at index 3.5
    for height, row in ((4, 2.0), (6, 4.0)):  # at indices 2.5 and 3.5
        rows = torch.arange(float(height))[:, None].expand(1, 1, height, 8).clone()
        assert e2p(rows, torch.eye(3)[None], **axis)[0, 0, 1, 1] == row


@pytest.mark.parametrize("backend", backend_names())
def test_convention_the_image_goes_on_beyond_a_pole_half_a_turn_away(backend: str) -> None:
    erp = torch.rand(1, 1, 4, 8, dtype=torch.float32)
    up = turn(pitch=90.0).float()[None]
    got = e2p(
        erp, up, hfov_deg=1e-3, size=(1, 2), backend=backend
    )  # both pixels next to the pole, at longitude +-90
    want = (
        erp[0, 0, 0, [1, 2]] + erp[0, 0, 0, [5, 6]]
    ).sum() / 4  # index -0.5: halves of row 0 here and opposite
    torch.testing.assert_close(got, want.expand(1, 1, 1, 2), rtol=1e-4, atol=1e-4)
    clamped = e2p(erp, up, hfov_deg=1e-3, size=(1, 2), convention="equilib", backend=backend)
    assert clamped.min() >= erp[0, 0, :2].min() - 1e-6


@pytest.mark.parametrize("size", [3, 7, 11, 13, 15])
@pytest.mark.parametrize("pitch", [90.0, -90.0])
@pytest.mark.parametrize("backend", backend_names())
def test_convention_a_pole_itself_has_longitude_zero(backend: str, pitch: float, size: int) -> None:
    """The middle ray of a cube face: rounding turns it by 1e-16, which is no longitude."""
    erp = torch.rand(1, 1, 8, 16, dtype=torch.float32)
    tile = e2p(erp, turn(pitch=pitch).float()[None], hfov_deg=90.0, size=(size, size),
               convention="py360convert", backend=backend)  # fmt: skip
    want = erp[0, 0, 0 if pitch > 0 else 7, [7, 8, 15, 0]].mean()  # columns 7.5 here and 15.5 opposite
    torch.testing.assert_close(tile[0, 0, size // 2, size // 2], want, rtol=1e-4, atol=1e-4)


# ---- laws ----


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_quarter_turns_are_bitwise_circular_shifts(dtype: torch.dtype) -> None:
    erp = torch.rand(1, 2, 16, 40, dtype=dtype)
    quarter = torch.tensor(
        [[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]], dtype=torch.float64
    )  # yaw of 90, exact
    options = {"hfov_deg": 70.0, "size": (9, 40), "backend": "native"}
    turned = e2p(erp, (quarter @ VIEWS[0])[None], **options)
    assert torch.equal(turned, e2p(erp.roll(-10, 3), VIEWS[:1], **options))


@pytest.mark.parametrize("case", cases_of("native", "triton"))
@pytest.mark.parametrize("antialias", ["none", "box"])
def test_a_constant_image_stays_constant(case: Case, antialias: str) -> None:
    erp = torch.full((1, 1, 16, 32), 0.7, device=case.device)
    views = torch.stack([*VIEWS, turn(pitch=90), turn(yaw=180, pitch=-90)]).to(case.device)
    out = e2p(erp, views, hfov_deg=100.0, size=(5, 6), antialias=antialias, backend=case.backend)
    torch.testing.assert_close(
        out, torch.full_like(out, 0.7), rtol=0, atol=0 if antialias == "none" else 1e-6
    )


def test_seam_and_poles_are_continuous() -> None:
    """On an image of its own directions the error stays below 1e-3 degrees, wherever the tile looks."""
    height, width = 1024, 2048
    lon, lat = torch.deg2rad(lon_lat_image(height, width)[0])
    erp = torch.stack([lat.cos() * lon.sin(), lat.sin(), lat.cos() * lon.cos()])[None]
    views = torch.stack([turn(180), turn(-170, 88, 10), turn(33, -90), VIEWS[0]])
    size, tangent = (48, 64), math.tan(math.radians(45))
    got = F.normalize(e2p(erp, views, hfov_deg=90.0, size=size, backend="native"), dim=1)
    t = ((torch.arange(64, dtype=torch.float64) + 0.5) / 32 - 1) * tangent
    s = (1 - (torch.arange(48, dtype=torch.float64) + 0.5) / 24) * tangent * 48 / 64
    rays = torch.stack([t.expand(48, 64), s[:, None].expand(48, 64), torch.ones(48, 64, dtype=torch.float64)])
    want = F.normalize(torch.einsum("nij,jhw->nihw", views, rays), dim=1)
    assert torch.rad2deg(torch.linalg.cross(got, want, dim=1).norm(dim=1)).max() < 1e-3


@pytest.mark.parametrize("case", cases_of("native", "triton"))
def test_the_gradient_is_the_adjoint(case: Case) -> None:
    for options in ({}, {"mode": "nearest"}, {"antialias": "box"}, {"convention": "equilib"}):
        call = make_call((1, 2, 12, 24), **options).to(case.device, torch.float32)
        erp = call.tensors["erp"].requires_grad_()
        out = call.outputs(case.backend)["output"]
        weight = torch.randn(out.shape).to(out)
        (grad,) = torch.autograd.grad(out, erp, weight)
        torch.testing.assert_close((out * weight).sum(), (erp * grad).sum(), rtol=1e-4, atol=1e-4)


def test_a_batch_is_its_tiles() -> None:
    erp = torch.rand(2, 2, 16, 32)
    index, fov = torch.tensor([1, 0, 1]), [40.0, 90.0, 120.0]
    options = {"size": (6, 7), "antialias": "box", "backend": "native"}
    batch = e2p(erp, VIEWS, hfov_deg=fov, image_index=index, **options)
    tiles = [
        e2p(erp[i : i + 1], VIEWS[n : n + 1], hfov_deg=fov[n], **options)
        for n, i in enumerate(index.tolist())
    ]
    assert torch.equal(batch, torch.cat(tiles))


# ---- antialiasing ----


def test_box_takes_as_many_samples_as_a_pixel_spans() -> None:
    erp_size, step = (2048, 4096), 2.0 / 224  # of a 90 degree tile of 224 pixels
    assert (
        erp_span(erp_size, step, step / 3)
        == erp_span(erp_size, step / 3, step)
        == pytest.approx(5.82, abs=5e-3)
    )
    assert erp_span((2048, 2048), step, step) == erp_span(erp_size, step, step)
    for span, wanted in ((5.82, 6), (1.94, 2), (1.0, 1), (0.1, 1), (3 + 1e-9, 3)):
        assert sample_count(erp_size, span, "box") == wanted
        assert sample_count(erp_size, span, "none") == 1


@pytest.mark.parametrize("backend", backend_names())
def test_box_is_the_mean_over_a_larger_tile(backend: str) -> None:
    erp = torch.rand(1, 2, 24, 48)
    options = {"hfov_deg": 90.0, "backend": backend}
    box = e2p(erp, VIEWS, size=(5, 5), antialias="box", **options)
    s = sample_count((24, 48), erp_span((24, 48), 0.4, 0.4), "box")
    assert s == 4
    torch.testing.assert_close(box, F.avg_pool2d(e2p(erp, VIEWS, size=(5 * s, 5 * s), **options), s))


def test_box_comes_close_to_eight_fold_supersampling() -> None:
    erp = torch.rand(1, 1, 128, 256, dtype=torch.float64)
    options = {"hfov_deg": 90.0, "backend": "native"}
    want = F.avg_pool2d(e2p(erp, VIEWS, size=(128, 128), **options), 8)
    error = {
        aa: (e2p(erp, VIEWS, size=(16, 16), antialias=aa, **options) - want).std() for aa in ("none", "box")
    }
    assert error["box"] < 0.1 * error["none"]
