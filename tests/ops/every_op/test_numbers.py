"""Numbers of every kind as options: of Python, NumPy, tensors of no dimension, and of traced programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from refkp._checks import height_and_width, number
from refkp.ops import vicreg
from refkp.ops.flow_gt import relative_pose
from tests.support.op_scenes import every_op

KINDS: dict[str, Callable[[float], Any]] = {
    "float32 of NumPy": np.float32,
    "float64 of NumPy": np.float64,
    "array of no dimension": lambda value: np.array(value),
    "tensor": lambda value: torch.tensor(value, dtype=torch.float64),
    "float16 tensor": lambda value: torch.tensor(value, dtype=torch.float16),
}
WHOLE: dict[str, Callable[[int], Any]] = {
    "int": int,
    "int64 of NumPy": np.int64,
    "uint8 of NumPy": np.uint8,
    "tensor": torch.tensor,
    "int32 tensor": lambda value: torch.tensor(value, dtype=torch.int32),
}
#: Options of each op whose values every float type holds exactly.
OPTIONS: list[tuple[str, dict[str, float]]] = [
    ("affine_warp", {"fill": 0.75}),
    ("e2p", {"hfov_deg": 75.5, "vfov_deg": 60.0}),
    ("vicreg", {"gamma": 1.5, "eps": 0.125}),
    ("flow_gt", {"tol_abs": 4.5, "tol_rel": 0.125, "tol_px": 1.25, "pixel_offset": 0.5}),
    ("camera_warp", {"fill": 0.75}),
]


def same(op: str, one: dict[str, Any], other: dict[str, Any]) -> bool:
    call = every_op(6, 8)[op].to("cpu", torch.float32)
    outputs = [
        dataclasses.replace(call, options={**call.options, **options}).outputs("native")
        for options in (one, other)
    ]
    return all(
        torch.equal(outputs[0][name].nan_to_num(), value.nan_to_num()) for name, value in outputs[1].items()
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("op", "options"), OPTIONS)
def test_a_number_of_any_kind_is_that_number(op: str, options: dict[str, float], kind: str) -> None:
    assert same(op, options, {name: KINDS[kind](value) for name, value in options.items()})


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize(
    ("op", "options"), [("affine_warp", {"fill": 2}), ("e2p", {"hfov_deg": 80}), ("vicreg", {"gamma": 2})]
)
def test_a_whole_number_of_any_kind_is_that_number(op: str, options: dict[str, int], kind: str) -> None:
    assert same(op, options, {name: WHOLE[kind](value) for name, value in options.items()})


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("op", ["affine_warp", "e2p", "camera_warp"])
def test_a_size_of_any_kind_is_that_size(op: str, kind: str) -> None:
    assert same(op, {"size": (5, 7)}, {"size": (WHOLE[kind](5), WHOLE[kind](7))})
    assert same(op, {"size": (5, 7)}, {"size": np.array([5, 7])})
    assert same(op, {"size": (5, 7)}, {"size": torch.tensor([5, 7])})


@pytest.mark.parametrize("kind", KINDS)
def test_lists_hold_numbers_of_any_kind(kind: str) -> None:
    weights = (2.0, 0.5, 0.25)
    assert same(
        "vicreg", {"coefficients": weights}, {"coefficients": [KINDS[kind](value) for value in weights]}
    )
    fills = [0.25 * c for c in range(6)]
    assert same("affine_warp", {"fill": fills}, {"fill": [KINDS[kind](value) for value in fills]})
    fovs = [50.0, 60.5, 70.0]
    assert same("e2p", {"hfov_deg": fovs}, {"hfov_deg": [KINDS[kind](value) for value in fovs]})
    assert same("e2p", {"hfov_deg": fovs}, {"hfov_deg": torch.tensor(fovs)})
    assert same("e2p", {"hfov_deg": fovs}, {"hfov_deg": np.array(fovs, dtype=np.float32)})


def test_switches_of_numpy_are_switches() -> None:
    assert same("affine_warp", {"inverse": True}, {"inverse": np.bool_(True)})
    assert same("equivariance_loss", {"coverage": False}, {"coverage": np.bool_(False)})
    assert same("vicreg", {"unbiased": False}, {"unbiased": np.bool_(False)})


def test_the_scale_of_units_may_be_a_tensor() -> None:
    pose = torch.eye(4)
    assert torch.equal(
        relative_pose(pose, pose, unit_scale=torch.tensor(2.5)), relative_pose(pose, pose, unit_scale=2.5)
    )


@pytest.mark.parametrize("value", ["90", b"1", None, 1j, [1.0], np.ones(1), torch.ones(2), {}])
def test_what_is_no_number_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="f: `x` must be a number; got"):
        number("f", "x", value)


@pytest.mark.parametrize(
    "value", ["ab", 5, (1, 2, 3), (1.5, 2), None, (None, 1), torch.tensor([1.0, 2.0]), torch.tensor(3)]
)
def test_what_is_no_size_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"f: `size` must be \(height, width\); got"):
        height_and_width("f", "size", value)


#: Options that change from call to call, as they do in a schedule.
SCHEDULES: list[tuple[str, str, list[dict[str, Any]]]] = [
    (
        "vicreg",
        "gamma",
        [{"gamma": 1.0, "eps": 1e-4}, {"gamma": 1.5, "eps": 1e-3}, {"gamma": 2.25, "eps": 1e-2}],
    ),
    (
        "e2p",
        "hfov",
        [
            {"hfov_deg": 90.0, "size": (5, 6)},
            {"hfov_deg": 70.5, "size": (6, 7)},
            {"hfov_deg": 60.0, "size": (7, 9)},
        ],
    ),
    (
        "affine_warp",
        "fill",
        [{"fill": 0.5, "size": (5, 6)}, {"fill": 0.7, "size": (6, 8)}, {"fill": -1.5, "size": (7, 9)}],
    ),
    ("vicreg", "whole", [{"gamma": 1, "coefficients": (2, 3, 1)}, {"gamma": 2, "coefficients": (5, 1, 2)}]),
    ("e2p", "whole", [{"hfov_deg": 90, "size": (5, 6)}, {"hfov_deg": 50, "size": (5, 6)}]),
    ("affine_warp", "whole", [{"fill": 1}, {"fill": 3}, {"fill": -2}]),
    ("flow_gt", "whole", [{"tol_abs": 4}, {"tol_abs": 5}, {"tol_abs": 7}]),
    ("flow_gt", "tolerance", [{"tol_abs": 4.0}, {"tol_abs": 5.0}, {"tol_abs": 6.5}]),
    ("equivariance_loss", "coverage", [{"coverage": True}, {"coverage": False}]),
    (
        "camera_warp",
        "fill",
        [{"fill": 0.5, "size": (5, 6)}, {"fill": 0.7, "size": (6, 8)}, {"fill": -1.5, "size": (7, 9)}],
    ),
]


@pytest.mark.parametrize("dynamic", [True, None])
@pytest.mark.parametrize(
    ("op", "options"), [pytest.param(op, options, id=f"{op} {name}") for op, name, options in SCHEDULES]
)
def test_compiles_with_shapes_and_options_that_change(
    op: str, options: list[dict[str, Any]], dynamic: bool | None
) -> None:
    torch._dynamo.reset()
    call = every_op(6, 8)[op].to("cpu", torch.float32)
    compiled = torch.compile(call.function, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for step, changed in enumerate(options):
        there = dataclasses.replace(
            every_op(6 + step, 8 + 2 * step)[op].to("cpu", torch.float32), options=changed
        )
        want = there.run("native")
        got = dataclasses.replace(there, function=compiled).run("native")
        for name, value in want.items():
            torch.testing.assert_close(got[name], value, equal_nan=True)


@pytest.mark.parametrize("gamma", [torch.tensor(1.5), np.float32(1.5)], ids=["tensor", "numpy"])
def test_a_number_that_a_compiled_call_would_read_from_a_tensor_is_named(gamma: Any) -> None:
    torch._dynamo.reset()
    x, y = torch.rand(2, 6, 4)
    compiled = torch.compile(lambda gamma: vicreg(x, y, gamma=gamma), fullgraph=True, backend="aot_eager")
    with pytest.raises(Exception, match=r"vicreg: `gamma` must be a number of Python inside torch\.compile"):
        compiled(gamma)
