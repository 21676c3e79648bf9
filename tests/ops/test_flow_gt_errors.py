"""Every error of flow_gt names the argument, the rule, what came and, where there is one, the remedy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from refkp.ops.flow_gt import flow_gt, relative_pose
from tests.support.flow_scenes import Scene, random_scene
from tests.support.op_checks import backend_names


def scene_with(**changes: Any) -> dict[str, Any]:
    scene: Scene = random_scene(2, 3, (5, 6), (7, 8))
    single = {name: value.float() if name.startswith("depth") else value for name, value in scene.items()}
    return {**single, **changes}


SHAPES = [
    ("depth_src", (2, 1, 5, 6), r"`depth_src` must be \[B,H,W\]; got \[2,1,5,6\]"),
    ("K_src", (3, 3), r"`K_src` must be \[B,3,3\] with B=2"),
    ("K_src", (3, 3, 3), r"`K_src` must be \[B,3,3\] with B=2.*got \[3,3,3\]"),
    ("depth_dst", (2, 7, 8), r"`depth_dst` must be \[B,S,Ht,Wt\] with B=2"),
    ("depth_dst", (1, 3, 7, 8), r"`depth_dst` must be .* with B=2"),
    ("K_dst", (2, 2, 3, 3), r"`K_dst` must be .*S=3.*got \[2,2,3,3\]"),
    ("dst_from_src", (2, 3, 3, 4), r"`dst_from_src` must be \[B,S,4,4\]"),
    ("dst_from_src", (2, 1, 4, 4), r"`dst_from_src` must be .*S=3"),
    ("mask_src", (2, 6, 5), r"`mask_src` must be \[B,H,W\] with B=2, H=5, W=6"),
    ("mask_dst", (2, 3, 8, 7), r"`mask_dst` must be .*Ht=7, Wt=8"),
]


@pytest.mark.parametrize(("name", "shape", "message"), SHAPES)
def test_shapes(name: str, shape: tuple[int, ...], message: str) -> None:
    dtype = torch.bool if name.startswith("mask") else torch.float32
    with pytest.raises(ValueError, match=message):
        flow_gt(**scene_with(**{name: torch.ones(shape, dtype=dtype)}))


def test_dtypes() -> None:
    with pytest.raises(ValueError, match=r"`depth_src` must be of a floating dtype; got uint16.*depth_scale"):
        flow_gt(**scene_with(depth_src=torch.ones(2, 5, 6, dtype=torch.uint16)))
    with pytest.raises(ValueError, match="`depth_dst` must be of the dtype of `depth_src`"):
        flow_gt(**scene_with(depth_dst=torch.ones(2, 3, 7, 8, dtype=torch.float64)))
    with pytest.raises(ValueError, match="`K_src` must be of dtype float32, float64"):
        flow_gt(**scene_with(K_src=torch.eye(3, dtype=torch.float16).expand(2, 3, 3)))
    with pytest.raises(ValueError, match="`mask_src` must be of dtype bool"):
        flow_gt(**scene_with(mask_src=torch.ones(2, 5, 6)))
    with pytest.raises(TypeError, match=r"`K_dst` must be a torch.Tensor; got list"):
        flow_gt(**scene_with(K_dst=[1, 2]))


def test_devices() -> None:
    with pytest.raises(ValueError, match=r"`K_src` must be on the device of `depth_src` \(cpu\); got meta"):
        flow_gt(**scene_with(K_src=torch.ones(2, 3, 3, device="meta")))


@pytest.mark.parametrize("name", ["depth_src", "depth_dst"])
def test_sizes(name: str) -> None:
    leading = (2,) if name == "depth_src" else (2, 3)
    without_masks = {"mask_src": None, "mask_dst": None}
    with pytest.raises(ValueError, match=f"`{name}` must be an image of at least one pixel"):
        flow_gt(**scene_with(**without_masks, **{name: torch.ones(*leading, 0, 4)}))
    huge = torch.ones(1).expand(*leading, 65536, 32768)
    with pytest.raises(ValueError, match=f"`{name}` must be an image of fewer than 2\\^31 pixels"):
        flow_gt(**scene_with(**without_masks, **{name: huge}))


OPTIONS = [
    (
        {"rule": "best"},
        "`rule` must be one of 'nearest', 'nearest_twosided', 'quad', 'bilinear_relative'; got 'best'",
    ),
    ({"tol_abs": -1.0}, "`tol_abs` must be finite and >= 0; got -1.0"),
    ({"tol_rel": float("nan")}, "`tol_rel` must be finite"),
    ({"tol_px": float("inf")}, "`tol_px` must be finite"),
    ({"pixel_offset": 0.25}, "`pixel_offset` must be one of 0, 0.5; got 0.25"),
    ({"backend": "cuda"}, "`backend` must be one of"),
]


@pytest.mark.parametrize(("option", "message"), OPTIONS)
def test_options(option: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        flow_gt(**scene_with(**option))


def _spoil(name: str, index: tuple[int | slice, ...], value: float) -> Callable[[dict[str, Any]], None]:
    def change(scene: dict[str, Any]) -> None:
        scene[name] = scene[name].clone()
        scene[name][index] = value

    return change


MATRICES = [
    (
        _spoil("K_src", (1, 0, 2), float("nan")),
        "`K_src` must be finite; got 1 of 18 elements NaN or infinite",
    ),
    (_spoil("K_dst", (1, 2, 0, 0), float("inf")), "`K_dst` must be finite"),
    (_spoil("dst_from_src", (0, 1, 2, 3), float("nan")), "`dst_from_src` must be finite"),
    (_spoil("K_src", (1, 0, 0), 0.0), "`K_src` must be invertible, .*fx > 0 and fy > 0; got a smallest"),
    (_spoil("K_dst", (0, 2, 1, 1), -5.0), "`K_dst` must be invertible"),
    (_spoil("K_dst", (0, 2, 2, 2), 2.0), r"`K_dst` must be \[\[fx,skew,cx\],.*got \[0.0, 0.0, 0.0, 2.0\]"),
    (_spoil("dst_from_src", (0, 1, 3, 0), 5.0), "`dst_from_src` must be .*bottom row.*transposed"),
    (
        _spoil("dst_from_src", (0, 1, 0, 0), 3.0),
        "`dst_from_src` must be invertible, a rotation times a unit scale",
    ),
    (_spoil("dst_from_src", (0, 1, slice(0, 3), slice(0, 3)), 0.0), "`dst_from_src` must be invertible"),
]


@pytest.mark.parametrize("backend", backend_names())
@pytest.mark.parametrize(("spoil", "message"), MATRICES)
def test_matrices(spoil: Callable[[dict[str, Any]], None], message: str, backend: str) -> None:
    scene = scene_with()
    spoil(scene)
    with pytest.raises(ValueError, match=message):
        flow_gt(**scene, backend=backend)


@pytest.mark.parametrize("backend", backend_names("triton"))
def test_triton_has_no_float64(backend: str) -> None:
    with pytest.raises(NotImplementedError, match="'triton' cannot run this call: float64"):
        flow_gt(**scene_with(**random_scene(2, 3, (5, 6), (7, 8))), backend=backend)


def test_native_has_no_half_precision_on_the_cpu() -> None:
    half = {
        name: torch.ones(shape, dtype=torch.float16)
        for name, shape in (("depth_src", (2, 5, 6)), ("depth_dst", (2, 3, 7, 8)))
    }
    with pytest.raises(
        NotImplementedError, match="'native' cannot run this call: float16 is not supported on CPU"
    ):
        flow_gt(**scene_with(**half), backend="native")


def test_relative_pose() -> None:
    eye = torch.eye(4)
    with pytest.raises(
        ValueError, match=r"relative_pose: `src_from_object` must be \[...,4,4\]; got \[3,4\]"
    ):
        relative_pose(eye, eye[:3])
    with pytest.raises(ValueError, match="`unit_scale` must be finite and > 0; got 0"):
        relative_pose(eye, eye, unit_scale=0)
    with pytest.raises(torch.linalg.LinAlgError):
        relative_pose(eye, torch.zeros(4, 4))
