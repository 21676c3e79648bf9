"""Run-length codes: both forms, against the definition written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("hypothesis", reason="needs the extra `dev`")

from hypothesis import given
from hypothesis import strategies as st

from refkp.systems.pose.data.rle import counts_from_string, counts_to_string, decode_mask, encode_mask

counts = st.lists(st.integers(0, 40) | st.integers(0, 2**31), max_size=12)


@st.composite
def masks(draw: st.DrawFn) -> torch.Tensor:
    height, width = draw(st.integers(0, 9)), draw(st.integers(0, 9))
    bits = draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
    return torch.tensor(bits, dtype=torch.bool).reshape(height, width)


@given(mask=masks(), compressed=st.booleans())
def test_decode_undoes_encode(mask: torch.Tensor, compressed: bool) -> None:
    assert torch.equal(decode_mask(encode_mask(mask, compressed=compressed)), mask)


@given(values=counts)
def test_the_string_is_the_one_of_the_definition(values: list[int]) -> None:
    text = counts_to_string(np.array(values, np.int64))
    assert text == _string_by_hand(values)
    assert counts_from_string(text).tolist() == values


def _string_by_hand(values: list[int]) -> str:
    """Number by number, group by group."""
    text = ""
    for place, value in enumerate(values):
        rest = value - values[place - 2] if place > 2 else value
        while True:
            group, rest = rest & 31, rest >> 5
            more = rest != (-1 if group & 16 else 0)
            text += chr(48 + group + 32 * more)
            if not more:
                break
    return text


def test_columns_come_first_and_background_before_object() -> None:
    mask = torch.tensor([[True, False, False], [True, True, False]])
    assert encode_mask(mask) == {"counts": [0, 2, 1, 1, 2], "size": [2, 3]}


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        ({"counts": [3], "size": [2, 2]}, "fill 2 x 2 pixels"),
        ({"counts": [5, -1], "size": [2, 2]}, "fill 2 x 2 pixels"),
        ({"counts": [4]}, "`counts` and `size`"),
        ({"counts": "o", "size": [2, 2]}, "whole run-length string"),
        ({"counts": "4 ", "size": [2, 2]}, "whole run-length string"),
        ({"counts": "o" * 13 + "0", "size": [2, 2]}, "at most 12 characters"),
    ],
)
def test_broken_codes_raise(rle: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode_mask(rle)
