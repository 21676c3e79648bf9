"""What holds for every op: instruction sets, numbers of threads, gradients one by one, no read beyond a buffer."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from refkp import _native
from refkp.geometry.sphere import view_rotation
from refkp.ops import OPS
from tests.support.op_call import Case, OpCall
from tests.support.op_checks import backend_names, check_agreement
from tests.support.op_scenes import every_op
from tests.support.scripts import run_script

NAMES = ("baseline", "avx2", "avx512")
DTYPES = (torch.float32, torch.float64)


def instruction_sets() -> tuple[str, ...]:
    """Those that this processor has."""
    return NAMES[: NAMES.index(str(_native.build_info()["isa"])) + 1]


def check_every_op() -> None:
    """Agreement of every op with the reference, over rows that fill vectors and rows that do not."""
    for size in ((11, 14), (3, 70), (1, 2), (37, 8)):
        for op, call in every_op(*size).items():
            for dtype in DTYPES:
                # A landing point of flow_gt on an edge may fall on either side.
                check_agreement(
                    call, Case("native", "cpu", dtype), outliers=0.005 if op == "flow_gt" else 0.0
                )


def test_the_scenes_have_every_op() -> None:
    assert tuple(every_op()) == OPS


@pytest.mark.parametrize("isa", NAMES)
def test_every_op_agrees_under_every_instruction_set(isa: str) -> None:
    if isa not in instruction_sets():
        pytest.skip(f"this processor has no {isa}")
    script = """
        import sys
        from refkp import _native
        from tests.ops.every_op.test_machine import check_every_op
        assert _native.build_info()["isa"] == sys.argv[1]
        check_every_op()
    """
    done = run_script(script, isa, REFKP_ISA=isa)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", OPS)
def test_the_number_of_threads_changes_no_bit(op: str, dtype: torch.dtype) -> None:
    call, threads = every_op(83, 34, 9)[op].to("cpu", dtype), torch.get_num_threads()
    results = {}
    try:
        for count in (1, 2, 3, 4, 5):
            torch.set_num_threads(count)
            results[count] = call.run("native")
    finally:
        torch.set_num_threads(threads)
    for count, values in results.items():
        for name, value in values.items():
            same = value.contiguous().view(torch.uint8), results[1][name].contiguous().view(torch.uint8)
            assert torch.equal(*same), f"{name} with {count} threads"


@pytest.mark.parametrize("backend", backend_names())
@pytest.mark.parametrize("op", [op for op in OPS if op != "flow_gt"])
def test_a_gradient_that_is_wanted_alone_is_the_same(op: str, backend: str) -> None:
    call = every_op(9, 10)[op].to("cpu", torch.float32)
    together = call.run(backend)
    for name in call.gradients:
        alone = dataclasses.replace(call, gradients=(name,)).run(backend)
        assert torch.equal(alone[f"grad_{name}"], together[f"grad_{name}"])


def interleaved(call: OpCall) -> OpCall:
    """The same call on bytes, three channels a pixel, as pictures are read."""
    erp = (100 + 40 * call.tensors["erp"][:, :3]).clamp(0, 255).to(torch.uint8)
    pixels = erp.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    return dataclasses.replace(call, tensors={**call.tensors, "erp": pixels}, gradients=())


def as_bytes(call: OpCall, channels: int, *, planar: bool = False) -> OpCall:
    """The same call of camera_warp on bytes, interleaved or in planes."""
    image = call.tensors["image"][:, :channels].float()
    pixels = (100 + 40 * image).clamp(0, 255).to(torch.uint8)
    pixels = pixels.contiguous() if planar else pixels.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    options = {**call.options, "fill": 7.0}
    tensors = {**call.tensors, "image": pixels}
    return dataclasses.replace(call, tensors=tensors, gradients=(), options=options)


def upright(call: OpCall) -> OpCall:
    """The same call of camera_warp without lens, turn and fill: the last pixel of the output is that of the image."""
    tensors, eye = call.tensors, torch.eye(2, 3, dtype=torch.float64)
    plain = {
        "distortion": torch.zeros_like(tensors["distortion"]),
        "affine": eye.repeat(len(tensors["affine"]), 1, 1),
    }
    size = tensors["image"].shape[2:]
    return dataclasses.replace(call, tensors={**tensors, **plain}, options={"fill": 0.0, "size": tuple(size)})


def without_first_channel(call: OpCall) -> OpCall:
    """The same call of camera_warp on the other channels, where they are."""
    return dataclasses.replace(call, tensors={**call.tensors, "image": call.tensors["image"][:, 1:]})


def corners() -> OpCall:
    """Narrow views of the first and of the last pixels of a panorama, no tap beyond a pole or the seam."""
    base = every_op(16, 32, 3)["e2p"]
    views = torch.stack([view_rotation(-168.0, 80.0), view_rotation(168.0, -80.0)]).double()
    options = {"hfov_deg": 1.0, "size": (4, 40)}
    return dataclasses.replace(base, tensors={**base.tensors, "rotation": views}, options=options)


def calls_of(op: str) -> list[OpCall]:
    """Calls of an op on the CPU that take its different ways of reading."""
    calls = [every_op(*size)[op] for size in ((5, 6), (13, 40))]
    if op == "camera_warp":
        calls += [every_op(1, 5)[op], every_op(6, 1)[op]]
        shrunk = {"size": (3, 4), "fill": 0.0, "antialias": True}
        calls += [dataclasses.replace(every_op(23, 31, 3)[op], options=shrunk)]
        calls += [upright(every_op(7, 24, 4)[op])]
        calls += [as_bytes(call, channels) for call in calls for channels in (1, 3, 4)]
        calls += [as_bytes(call, 3, planar=True) for call in calls]
        calls += [without_first_channel(call) for call in calls if call.tensors["image"].shape[1] == 4]
    if op == "e2p":
        calls += [corners()]
        calls += [dataclasses.replace(call, options={**call.options, "mode": "nearest"}) for call in calls]
        mip = {"hfov_deg": 120.0, "size": (3, 3), "antialias": "mip"}
        calls += [dataclasses.replace(every_op(16, 64, 4)[op], options=mip)]
        calls += [interleaved(call) for call in calls]
    return [call.to("cpu", dtype) for call in calls for dtype in DTYPES]


def check_buffers(op: str) -> None:
    """Run an op on inputs that end, then on inputs that begin, at forbidden memory; the results are the same."""
    from tests.support.guarded import guarded

    calls = calls_of(op)
    for call in calls:
        want = call.run("native")
        for at_end in (True, False):
            tensors = {name: guarded(tensor, at_end=at_end) for name, tensor in call.tensors.items()}
            for name, value in dataclasses.replace(call, tensors=tensors).run("native").items():
                assert torch.equal(value.nan_to_num(), want[name].nan_to_num()), name


@pytest.mark.parametrize("op", OPS)
def test_nothing_is_read_beyond_the_inputs(op: str) -> None:
    script = (
        "import sys; from tests.ops.every_op.test_machine import check_buffers; check_buffers(sys.argv[1])"
    )
    done = run_script(script, op)
    assert done.returncode == 0, done.stderr or f"ended by signal {-done.returncode}"


def test_the_guard_ends_a_process_that_reads_beyond() -> None:
    script = """
        import ctypes, sys, torch
        from tests.support.guarded import guarded
        tensor = guarded(torch.arange(5.0), at_end=sys.argv[1] == "end")
        beyond = tensor.data_ptr() + (tensor.nbytes if sys.argv[1] == "end" else -1)
        print(tensor.sum().item(), flush=True)
        ctypes.string_at(beyond, 1)
    """
    for side in ("end", "start"):
        done = run_script(script, side)
        assert done.stdout == "10.0\n"
        assert done.returncode < 0
