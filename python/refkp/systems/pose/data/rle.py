"""Run-length codes of masks, as COCO and BOP files hold them. Source: spec pose 7.1.

A mask is read column by column from the upper left. `counts` are the lengths of its runs, of background and
object in turn, background first (0 if the first pixel belongs to the object). They stand in a file as a list,
or as a string in which each number takes as few characters as it needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from refkp._checks import fail, require_input

Counts = NDArray[np.int64]

_BITS = 5  # of a number in one character; the sixth bit tells that more follow
_MORE, _SIGN, _FIRST_CHARACTER = 1 << _BITS, 1 << (_BITS - 1), 48
_MAX_CHARACTERS = 12  # 60 bits: enough for any picture, and no shift leaves int64


def encode_mask(mask: Tensor, *, compressed: bool = False) -> dict[str, Any]:
    """The run-length code of a mask, ready for JSON.

    Args:
        mask: bool [H,W].
        compressed: write `counts` as COCO's string instead of a list.

    Returns:
        {"counts": list of int, or str; "size": [H, W]}.

    >>> encode_mask(torch.tensor([[False, True], [False, True]]))
    {'counts': [2, 2], 'size': [2, 2]}
    """
    require_input("encode_mask", "mask", mask, "H,W", (torch.bool,))
    counts = _runs(mask.T.cpu().numpy().ravel())
    return {
        "counts": counts_to_string(counts) if compressed else counts.tolist(),
        "size": list(mask.shape),
    }


def decode_mask(rle: Mapping[str, Any]) -> Tensor:
    """The mask of a run-length code, bool [H,W]; `counts` is a list of int, a str or ASCII bytes.

    Raises:
        ValueError: a key is missing, a count is negative, or the runs do not fill the mask.

    >>> decode_mask({"counts": [1, 2, 1], "size": [2, 2]})
    tensor([[False,  True],
            [ True, False]])
    """
    if "counts" not in rle or "size" not in rle or len(rle["size"]) != 2:
        fail("decode_mask", "rle", "a mapping with `counts` and `size` [H, W]", sorted(rle))
    coded = rle["counts"]
    counts = counts_from_string(coded) if isinstance(coded, (str, bytes)) else np.array(coded, np.int64)
    height, width = (int(side) for side in rle["size"])
    if counts.ndim != 1 or (counts < 0).any() or counts.sum() != height * width:
        got = f"{counts.sum()} pixels in {len(counts)} runs, the least {counts.min(initial=0)}"
        fail("decode_mask", "rle", f"runs that fill {height} x {width} pixels", got)
    is_object = np.arange(len(counts)) % 2 == 1
    return torch.from_numpy(np.repeat(is_object, counts).reshape(width, height)).T.contiguous()


def counts_to_string(counts: Counts) -> str:
    """COCO's string: from the fourth on, each number is the difference to the last but one; then groups of 5
    bits with sign, the lowest first, each as one character from code 48 on.

    >>> counts_to_string(np.array([6, 1, 40, 4, 5, 4, 5, 4, 21]))
    '61X13mN000`0'
    """
    values = np.array(counts, np.int64)
    values[3:] -= np.array(counts, np.int64)[1:-2]
    limits = np.int64(1) << (_BITS * np.arange(1, _MAX_CHARACTERS, dtype=np.int64) - 1)
    lengths = 1 + ((values[:, None] >= limits) | (values[:, None] < -limits)).sum(1)
    place = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    groups = (np.repeat(values, lengths) >> (_BITS * place)) & (_MORE - 1)
    groups += np.where(place < np.repeat(lengths, lengths) - 1, _MORE, 0)
    return (groups + _FIRST_CHARACTER).astype(np.uint8).tobytes().decode("ascii")


def counts_from_string(text: str | bytes) -> Counts:
    """The counts of COCO's string.

    Raises:
        ValueError: a character that the code has not, or an unfinished number.

    >>> counts_from_string("61X13mN000`0").tolist()
    [6, 1, 40, 4, 5, 4, 5, 4, 21]
    """
    raw = text.encode("utf-8") if isinstance(text, str) else text
    groups = np.frombuffer(raw, np.uint8).astype(np.int64) - _FIRST_CHARACTER
    is_last = (groups & _MORE) == 0
    if ((groups < 0) | (groups >= 2 * _MORE)).any() or (len(groups) and not is_last[-1]):
        fail("counts_from_string", "text", "a whole run-length string of COCO", repr(text[:40]))
    if not len(groups):
        return np.zeros(0, np.int64)
    starts = np.concatenate([[0], np.flatnonzero(is_last)[:-1] + 1])
    lengths = np.flatnonzero(is_last) + 1 - starts
    if lengths.max() > _MAX_CHARACTERS:
        fail(
            "counts_from_string",
            "text",
            f"made of at most {_MAX_CHARACTERS} characters per number",
            repr(text[:40]),
        )
    place = np.arange(len(groups)) - np.repeat(starts, lengths)
    values = np.add.reduceat((groups & (_MORE - 1)) << (_BITS * place), starts)
    values -= np.where(groups[is_last] & _SIGN, np.int64(1) << (_BITS * lengths), 0)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def _runs(pixels: NDArray[np.bool_]) -> Counts:
    """The lengths of the runs of equal pixels, background first."""
    borders = np.flatnonzero(np.diff(pixels, prepend=False)) if len(pixels) else np.zeros(0, np.int64)
    return np.diff(borders, prepend=0, append=len(pixels)).astype(np.int64)
