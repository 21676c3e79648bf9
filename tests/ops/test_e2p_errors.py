"""e2p: every argument that it refuses, and the message that says why."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from refkp.ops import e2p
from tests.support.op_checks import backend_names

ERP, EYE = torch.rand(1, 3, 8, 16), torch.eye(3)[None]

BAD_ARGUMENTS: dict[str, tuple[dict[str, Any], str]] = {
    "erp rank": ({"erp": ERP[0]}, r"`erp` must be \[B,C,H,W\]"),
    "erp dtype": ({"erp": ERP.int()}, "`erp` must be of dtype uint8"),
    "erp empty": ({"erp": ERP[:, :, :0]}, r"`erp` must be \[B,C,H,W\] with H, W >= 1"),
    "erp odd": ({"erp": ERP[..., :15]}, "`erp` must be of even width.*convention='equilib'"),
    "erp extent": ({"erp": torch.zeros(1, 1, 1, 1).expand(1, 1, 2**28, 2)}, "`erp` must be of fewer than"),
    "rotation shape": ({"rotation": EYE[0]}, r"`rotation` must be \[N,3,3\]"),
    "rotation dtype": ({"rotation": EYE.int()}, "`rotation` must be of dtype float32, float64"),
    "rotation device": ({"rotation": EYE.to("meta")}, "`rotation` must be on the device of `erp`"),
    "rotation finite": ({"rotation": EYE * math.nan}, "`rotation` must be finite"),
    "rotation scaled": ({"rotation": EYE * 1.01}, "`rotation` must be orthonormal"),
    "rotation mirrored": ({"rotation": -EYE}, r"`rotation` must be orthonormal with determinant \+1"),
    "size rank": ({"size": (4, 4, 4)}, r"`size` must be \(height, width\)"),
    "size zero": ({"size": (0, 4)}, "`size` must be at least 1 x 1 pixels"),
    "size overflow": ({"size": (65536, 65536)}, r"`size` must be of fewer than 2\^31 pixels"),
    "hfov zero": ({"hfov_deg": 0.0}, r"`hfov_deg` must be inside \(0, 180\)"),
    "hfov straight": ({"hfov_deg": 180.0}, r"`hfov_deg` must be inside \(0, 180\)"),
    "hfov nan": ({"hfov_deg": math.nan}, r"`hfov_deg` must be inside \(0, 180\)"),
    "vfov": ({"vfov_deg": -1.0}, r"`vfov_deg` must be inside \(0, 180\)"),
    "hfov count": (
        {"hfov_deg": [60.0, 70.0]},
        "`hfov_deg` must be one number or one for each of the 1 tiles",
    ),
    "index missing": (
        {"rotation": EYE.repeat(3, 1, 1), "erp": ERP.repeat(2, 1, 1, 1)},
        "`image_index` must be given",
    ),
    "index shape": (
        {"image_index": torch.zeros(2, dtype=torch.int64)},
        r"`image_index` must be \[N\] with N=1",
    ),
    "index dtype": ({"image_index": torch.zeros(1)}, "`image_index` must be of dtype int64"),
    "index device": (
        {"image_index": torch.zeros(1, dtype=torch.int64, device="meta")},
        "`image_index` must be on",
    ),
    "index high": ({"image_index": torch.tensor([1])}, r"`image_index` must be in \[0, 1\)"),
    "index low": ({"image_index": torch.tensor([-1])}, r"`image_index` must be in \[0, 1\)"),
    "box": (
        {"antialias": "box", "hfov_deg": 179.999, "size": (1, 1)},
        "`antialias` must be 'none' where a tile pixel spans more than 4096 ERP pixels",
    ),
    "mip": (
        {"antialias": "mip", "erp": ERP[:, :, :7], "hfov_deg": 179.9999, "size": (1, 1)},
        "`antialias` must be 'none'.*got 'mip'",
    ),
    "mip odd": ({"antialias": "mip", "erp": ERP[..., :15]}, "`erp` must be of even width"),
    "convention": ({"convention": "cube"}, "`convention` must be one of 'canonical'"),
    "mode": ({"mode": "bicubic"}, "`mode` must be one of 'bilinear', 'nearest'"),
    "antialias": ({"antialias": "area"}, "`antialias` must be one of 'none', 'box', 'mip'"),
    "backend": ({"backend": "cuda"}, "`backend` must be one of"),
}


@pytest.mark.parametrize("backend", ["reference", "native"])
@pytest.mark.parametrize("name", BAD_ARGUMENTS)
def test_refuses_bad_arguments(name: str, backend: str) -> None:
    changed, message = BAD_ARGUMENTS[name]
    arguments = {"erp": ERP, "rotation": EYE, "hfov_deg": 90.0, "size": (4, 4), "backend": backend, **changed}
    with pytest.raises(ValueError, match=message):
        e2p(**arguments)


def test_refuses_what_is_no_tensor() -> None:
    with pytest.raises(TypeError, match="`erp` must be a torch"):
        e2p(ERP.numpy(), EYE, hfov_deg=90.0, size=(4, 4))
    with pytest.raises(TypeError, match="`rotation` must be a torch"):
        e2p(ERP, EYE.tolist(), hfov_deg=90.0, size=(4, 4))


@pytest.mark.parametrize("backend", [None, *backend_names("native", "triton")])
def test_refuses_a_gradient_to_the_rotation(backend: str | None) -> None:
    rotation = EYE.clone().requires_grad_()
    with pytest.raises(NotImplementedError, match="backend='reference'"):
        e2p(ERP, rotation, hfov_deg=90.0, size=(4, 4), backend=backend)
    with torch.no_grad():
        e2p(ERP, rotation, hfov_deg=90.0, size=(4, 4), backend=backend)


def test_refuses_a_dtype_that_the_backend_lacks() -> None:
    with pytest.raises(NotImplementedError, match="float16 is not supported on CPU"):
        e2p(ERP.half(), EYE, hfov_deg=90.0, size=(4, 4), backend="native")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device (none visible)")
@pytest.mark.parametrize("backend", ["native", "triton"])
def test_invalid_values_on_a_cuda_device_give_nan(backend: str) -> None:
    erp, rotation = ERP.cuda(), torch.cat([EYE, EYE * math.nan, -EYE, EYE]).cuda()
    index = torch.tensor([0, 0, 0, 1], device="cuda")
    out = e2p(erp, rotation, hfov_deg=90.0, size=(4, 4), image_index=index, backend=backend)
    assert torch.isfinite(out[0]).all()
    assert out[1:].isnan().all()
