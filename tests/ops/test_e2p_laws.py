"""e2p: laws of the sphere."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("hypothesis", reason="needs the extra `dev`")

from hypothesis import given
from hypothesis import strategies as st

from refkp.ops import e2p
from tests.ops.test_e2p import CONVENTIONS, turn


@pytest.mark.parametrize("convention", CONVENTIONS)
@given(shift=st.integers(-40, 40), pitch=st.floats(-80, 80), roll=st.floats(-180, 180))
def test_yaw_by_whole_columns_is_a_circular_shift(
    convention: str, shift: int, pitch: float, roll: float
) -> None:
    # Not bitwise: the entries of R(yaw) are rounded, and atan2 of a turned direction rounds differently.
    erp = torch.rand(1, 1, 16, 40, dtype=torch.float64)
    options = {"hfov_deg": 70.0, "size": (4, 5), "convention": convention, "backend": "reference"}
    turned = e2p(erp, turn(shift * 9.0 + 4.0, pitch, roll)[None], **options)
    rolled = e2p(erp.roll(-shift, 3), turn(4.0, pitch, roll)[None], **options)
    torch.testing.assert_close(turned, rolled, rtol=0, atol=1e-10)
