"""Good files made bad: bytes, lines, words and JSON values changed at random."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Callable
from typing import Any

#: Words that stand where others are wanted.
WORDS = (
    *("nan", "inf", "-1", "0", "1e400", "999999999999999999999", "-7.5", "x", "", "1/0/1", "\u00e9", "#"),
)
#: Values that stand where others are wanted in JSON.
VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 0.5, 10**30, 1e308, float("nan"), float("inf"), 2**31, 10**12),
    *("", "text", [], [1], [[1, 2], 3], {}, {"a": 1}),
)


def broken_bytes(rng: random.Random, data: bytes) -> bytes:
    """Some bits flipped, or a piece cut off, left out, doubled, swapped or overwritten, or nothing left."""
    change = bytearray(data)
    kind = rng.choice(
        ("bits", "bits", "bits", "cut", "left out", "doubled", "swapped", "overwritten", "empty")
    )
    start, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    end = min(end, start + rng.choice((1, 4, 64, 10**6)))
    if kind == "bits":
        for _ in range(rng.choice((1, 1, 2, 8, 40))):
            change[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        return bytes(change)
    if kind == "cut":
        return data[:start]
    if kind == "left out":
        return data[:start] + data[end:]
    if kind == "doubled":
        return data[:end] + data[start:]
    if kind == "swapped":
        return data[end:] + data[start:end] + data[:start]
    if kind == "overwritten":
        return data[:start] + bytes(rng.randrange(256) for _ in range(min(end - start, 64))) + data[end:]
    return b""


def broken_text(rng: random.Random, data: bytes) -> bytes:
    """Words or lines left out, doubled, swapped or replaced; sometimes bytes."""
    if rng.random() < 0.25:
        return broken_bytes(rng, data)
    unit = rng.choice((rb"(\n)", rb"([ \t\n/,]+)"))
    pieces = re.split(unit, data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = 2 * rng.randrange((len(pieces) + 1) // 2)
        kind = rng.choice(("left out", "doubled", "swapped", "replaced", "replaced"))
        if kind == "left out":
            pieces[at] = b""
        elif kind == "doubled":
            pieces[at] = pieces[at] + (pieces[at + 1] if at + 1 < len(pieces) else b" ") + pieces[at]
        elif kind == "swapped":
            other = 2 * rng.randrange((len(pieces) + 1) // 2)
            pieces[at], pieces[other] = pieces[other], pieces[at]
        else:
            pieces[at] = rng.choice(WORDS).encode()
    return b"".join(pieces)


def broken_json(rng: random.Random, data: bytes) -> bytes:
    """A value of a document replaced, left out, doubled or under another name; sometimes words or bytes."""
    if rng.random() < 0.25:
        return broken_text(rng, data)
    document = json.loads(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        places = list(_places(document))
        if not places:
            break
        holder, key = rng.choice(places)
        kind = rng.choice(("replaced", "replaced", "left out", "doubled"))
        if kind == "replaced":
            holder[key] = copy.deepcopy(rng.choice(VALUES))
        elif kind == "left out":
            del holder[key]
        elif isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        else:
            holder[f"{key}{rng.choice(('', 'x', '1'))}"] = holder.pop(key)
    return json.dumps(rng.choice(VALUES) if rng.random() < 0.03 else document).encode()


def _places(value: Any) -> list[tuple[Any, Any]]:
    """(holder, key) of every value in a document."""
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    else:
        return []
    return [place for key, inner in items for place in ((value, key), *_places(inner))]


BREAKERS: dict[str, Callable[[random.Random, bytes], bytes]] = {
    **dict.fromkeys((".json", ".gltf"), broken_json),
    **dict.fromkeys((".obj", ".mtl", ".csv", ".ply"), broken_text),
}


def broken(rng: random.Random, suffix: str, data: bytes) -> bytes:
    """A file of an ending made bad, by what its content is."""
    return BREAKERS.get(suffix, broken_bytes)(rng, data)
