"""flow_gt: agreement of the backends, conventions, rules, registration.

Errors, laws and patch forms have files of their own.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from refkp.ops.flow_gt import flow_gt, library
from refkp.ops.flow_gt.checks import RULES
from tests.support import op_checks
from tests.support.flow_scenes import borderline, maps, pose, random_scene
from tests.support.op_call import Case, OpCall
from tests.support.op_checks import backend_cases, cases_of
from tests.support.tolerances import assert_close, tolerance

MATRICES = ("K_src", "K_dst", "dst_from_src")
SHAPES = [
    (1, 1, (1, 1), (1, 1)),
    (2, 3, (7, 13), (11, 5)),
    (0, 2, (4, 4), (4, 4)),
    (2, 0, (4, 4), (4, 4)),
    (1, 2, (3, 259), (17, 19)),  # one pixel row longer than a chunk of the CPU kernel
]


def call(
    shape: tuple[int, int, tuple[int, int], tuple[int, int]] = (2, 3, (7, 13), (11, 5)), **options: Any
) -> OpCall:
    return OpCall("flow_gt", maps, random_scene(*shape), wide=MATRICES, options={"tol_abs": 8.0, **options})


def check_backend(scene: OpCall, case: Case) -> float:
    """uv within tolerance, flags equal outside the borderline pixels; the share of borderline pixels."""
    there = scene.to(case.device, case.dtype)
    got, want = there.run(case.backend), there.to("cpu", torch.float64).run("reference")
    unsure = borderline(there.to("cpu", torch.float64).tensors, **scene.options)
    assert_close("uv", got["uv"], want["uv"], tolerance("flow_gt", case.backend, case.dtype))
    assert torch.equal(got["flags"].cpu()[~unsure], want["flags"][~unsure])
    return unsure.double().mean().item() if unsure.numel() else 0.0


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("pixel_offset", [0.0, 0.5])
@pytest.mark.parametrize("case", backend_cases())
def test_backends_agree_with_the_reference(case: Case, rule: str, pixel_offset: float) -> None:
    share = check_backend(
        call((1, 2, (31, 37), (29, 41)), rule=rule, pixel_offset=pixel_offset, tol_rel=0.01), case
    )
    assert share < 0.02


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("case", backend_cases())
def test_backends_agree_on_odd_shapes(case: Case, shape: Any) -> None:
    check_backend(call(shape), case)


@pytest.mark.parametrize("case", backend_cases())
def test_backends_agree_without_masks(case: Case) -> None:
    scene = call()
    tensors = {name: tensor for name, tensor in scene.tensors.items() if not name.startswith("mask")}
    check_backend(dataclasses.replace(scene, tensors=tensors), case)


@pytest.mark.parametrize("case", cases_of("native", "triton"))
def test_results_do_not_depend_on_strides(case: Case) -> None:
    op_checks.check_strides(call(), case)


@pytest.mark.parametrize("case", cases_of("native", "triton"))
def test_an_expanded_target_is_read_in_place(case: Case) -> None:
    tensors = dict(call((2, 1, (7, 13), (11, 5))).to(case.device, case.dtype).tensors)
    for name in ("depth_dst", "K_dst", "dst_from_src", "mask_dst"):
        tensors[name] = tensors[name].expand(-1, 3, *tensors[name].shape[2:])
    got = maps(**tensors, backend=case.backend)
    copied = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    for a, b in zip(got, maps(**copied, backend=case.backend), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", ["depth_dst", "mask_dst"])
@pytest.mark.parametrize("case", cases_of("native", "triton"))
def test_one_of_depth_and_mask_is_shared_by_the_targets(case: Case, name: str) -> None:
    tensors = dict(call((2, 3, (7, 13), (11, 5))).to(case.device, case.dtype).tensors)
    shared = tensors[name][:, :1].expand(-1, 3, -1, -1)
    got = maps(**{**tensors, name: shared}, backend=case.backend)
    for a, b in zip(got, maps(**{**tensors, name: shared.clone()}, backend=case.backend), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("case", backend_cases())
def test_repeated_calls_are_bitwise_equal(case: Case) -> None:
    op_checks.check_deterministic(call(), case)


@pytest.mark.parametrize("case", cases_of("native", "triton"))
def test_compiles_without_a_graph_break(case: Case) -> None:
    op_checks.check_compiles(call(), case)


def test_registration() -> None:
    tensors = call().to("cpu", torch.float32).tensors
    arguments = (*tensors.values(), "quad", 0.5, 0.0, 2.0, 0.5, "native")
    op_checks.check_registration(library.flow_gt, arguments)
    op_checks.check_registration(library.flow_gt, (*arguments[:5], None, None, *arguments[7:]))


def flag_bits(u: float, depths: tuple[float, ...] = (10.0,) * 4, v: float = 0.5, **options: Any) -> int:
    """Flags of one source pixel of depth 10 that lands at (u, v) of a target with two rows of `depths`.

    Coordinates are in edge form here: pixel k of a row covers [k, k + 1), whatever the pixel offset.
    """
    offset = options.get("pixel_offset", 0.5)
    shift = torch.eye(4, dtype=torch.float64)
    shift[:2, 3] = 10 * (torch.tensor([u, v], dtype=torch.float64) - 0.5)
    eye = torch.eye(3, dtype=torch.float64)
    arguments: dict[str, Any] = {
        "depth_src": torch.full((1, 1, 1), 10.0, dtype=torch.float64),
        "K_src": eye[None],
        "depth_dst": torch.tensor([depths, depths], dtype=torch.float64)[None, None],
        "K_dst": eye[None, None],
        "dst_from_src": shift[None, None],
        **{"tol_abs": 0.5, "tol_px": 0.0, **options},
    }
    results = [maps(**arguments, backend=backend) for backend in ("reference", "native")]
    assert torch.equal(results[0].flags, results[1].flags)
    assert results[0].uv.flatten().tolist() == pytest.approx([u - 0.5 + offset, v - 0.5 + offset])
    return int(results[0].flags)


@pytest.mark.parametrize("pixel_offset", [0.0, 0.5])
def test_convention_the_image_is_its_pixel_area(pixel_offset: float) -> None:
    inside = [bool(flag_bits(u, pixel_offset=pixel_offset) & 4) for u in (-1e-9, 1e-9, 4 - 1e-9, 4 + 1e-9)]
    assert inside == [False, True, True, False]


def test_convention_bilinear_relative_leaves_out_half_a_pixel_more_on_the_right() -> None:
    options: dict[str, Any] = {"rule": "bilinear_relative", "v": 0.4}
    inside = [bool(flag_bits_relative(u, **options) & 4) for u in (-1e-3, 1e-3, 3 - 1e-3, 3 + 1e-3)]
    assert inside == [False, True, True, False]


def flag_bits_relative(u: float, v: float, **options: Any) -> int:
    """As `flag_bits`, without its check of uv: this rule divides by Z + 1e-4."""
    gt = flow_gt(
        torch.full((1, 1, 1), 10.0, dtype=torch.float64),
        torch.eye(3, dtype=torch.float64)[None],
        torch.full((1, 1, 2, 4), 10.0, dtype=torch.float64),
        torch.eye(3, dtype=torch.float64)[None, None],
        pose(torch.eye(3, dtype=torch.float64), (10 * u - 5, 10 * v - 5, 0))[None, None],
        **options,
    )
    return int(gt.flags)


@pytest.mark.parametrize("pixel_offset", [0.0, 0.5])
@pytest.mark.parametrize(("u", "pixel"), [(0.01, 0), (0.99, 0), (1.01, 1), (2.5, 2), (3.99, 3)])
def test_convention_nearest_reads_the_pixel_under_the_point(
    pixel_offset: float, u: float, pixel: int
) -> None:
    depths = tuple(10.0 if k == pixel else 0.0 for k in range(4))
    assert flag_bits(u, depths, rule="nearest", pixel_offset=pixel_offset) == 31


@pytest.mark.parametrize("rule", ["nearest", "nearest_twosided", "quad"])
def test_rules_are_one_sided_or_two_sided(rule: str) -> None:
    behind, in_front, touching = (flag_bits(1.6, (depth,) * 4, rule=rule) for depth in (9.0, 11.0, 10.4))
    assert behind == 15
    assert in_front == (31 if rule == "nearest" else 15)
    assert touching == 31


@pytest.mark.parametrize(("u", "pixels"), [(1.6, (1, 2)), (1.4, (0, 1)), (0.3, (0,)), (3.8, (3,))])
def test_quad_takes_any_of_the_pixels_around(u: float, pixels: tuple[int, ...]) -> None:
    for pixel in range(4):
        depths = tuple(10.0 if k == pixel else 0.0 for k in range(4))
        assert flag_bits(u, depths) == (31 if pixel in pixels else 7)


def test_tolerance_is_absolute_relative_and_in_pixels() -> None:
    # At Z = 10 and f = 1: 0.1 + (0.02 + 0.03 / 1) * 10 = 0.6.
    options = {"tol_abs": 0.1, "tol_rel": 0.02, "tol_px": 0.03}
    assert flag_bits(1.5, (9.41,) * 4, **options) == 31
    assert flag_bits(1.5, (9.39,) * 4, **options) == 15


@pytest.mark.parametrize("rule", RULES)
def test_target_mask_is_read_at_the_landing_pixel(rule: str) -> None:
    mask = torch.tensor([[False, True, False, False]]).expand(1, 1, 2, 4)
    options: dict[str, Any] = {"rule": rule, "mask_dst": mask}
    run = flag_bits_relative if rule == "bilinear_relative" else flag_bits
    assert [run(u, v=0.4, **options) for u in (0.7, 1.3, 1.7, 2.3)] == [23, 31, 31, 23]


@pytest.mark.parametrize("depth", [0.0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("backend", ["reference", "native"])
def test_invalid_depth_is_never_visible_and_never_nan(depth: float, backend: str) -> None:
    scene = dict(call().tensors)
    source = maps(**{**scene, "depth_src": torch.full_like(scene["depth_src"], depth)}, backend=backend)
    assert not source.flags.any()
    assert not source.uv.any()
    for rule in RULES:
        target = {**scene, "depth_dst": torch.full_like(scene["depth_dst"], depth)}
        got = maps(**target, rule=rule, backend=backend)
        assert not (got.flags & 24).any()
        assert torch.isfinite(got.uv).all()


@pytest.mark.parametrize("backend", ["reference", "native"])
def test_points_behind_the_camera_have_no_location(backend: str) -> None:
    scene = dict(call().tensors)
    scene["dst_from_src"] = scene["dst_from_src"].clone()
    scene["dst_from_src"][..., 2, 3] -= 2000
    got = maps(**scene, backend=backend)
    assert set(got.flags.unique().tolist()) == {0, 1}
    assert not got.uv.any()


def test_float32_stays_near_float64_when_matrices_are_float64() -> None:
    scene = random_scene(1, 1, (224, 224), (224, 224))
    single = {k: v.float() if k.startswith("depth") else v for k, v in scene.items()}
    rounded = {k: v.double() if k.startswith("depth") else v for k, v in single.items()}
    exact = flow_gt(**rounded, backend="reference")
    got = flow_gt(**single, backend="native")
    assert got.uv.dtype == torch.float32
    assert (got.uv - exact.uv)[exact.in_front].abs().max() < 2e-4  # spec 3.6 measured 5e-5


def test_results_are_constants() -> None:
    scene = {k: v.clone() for k, v in call().tensors.items()}
    scene["depth_src"].requires_grad_()
    with pytest.raises(ValueError, match=r"`depth_src` must be without gradient.*detach"):
        flow_gt(**scene)
    with torch.no_grad():
        assert not flow_gt(**scene).uv.requires_grad
