"""What is asked for, so that finished and unfinished work is known again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from refkp._checks import fail
from refkp._files import write_json
from refkp.systems.multiview.preprocessing.sources import source_digests
from refkp.systems.multiview.preprocessing.spec import PreprocessSpec
from refkp.systems.multiview.session import Recording
from refkp.systems.multiview.store.reading import SampleStore

_VERSION = 1  # of the samples: raise it when the same request gives others


def request_of(recordings: Sequence[Recording], spec: PreprocessSpec, track: str | None) -> dict[str, Any]:
    """All that the samples depend on."""
    sources: dict[str, str] = {}
    for recording in recordings:
        sources |= source_digests(recording)
    views = {recording.name: list(recording.view_names) for recording in recordings}
    request = {
        "version": _VERSION,
        "options": {**asdict(spec), "track": track},
        "views": views,
        "files": sources,
    }
    return json.loads(json.dumps(request))  # tuples as lists, as they are read


def request_digest(request: dict[str, Any]) -> str:
    """By which a finished file knows what it was made of."""
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


def is_finished(out: Path, request: dict[str, Any]) -> bool:
    """Whether the samples are there; raises where others are."""
    if not out.exists():
        return False
    with SampleStore(out) as store:
        told = store.info.attributes.get("request_sha256")
    if told != request_digest(request):
        remedy = "Choose another name, or give --fresh, which puts that file aside."
        rule = "a new file, or one of the same options and sessions"
        fail("preprocess", str(out), rule, "one of others", remedy)
    return True


def claim(folder: Path, request: dict[str, Any]) -> None:
    """Write what is asked for, or find it there."""
    path = folder / "request.json"
    if path.is_file():
        there = json.loads(path.read_text(encoding="utf-8"))
        if there != request:
            differ = ", ".join(_differences(there, request))
            remedy = "Give the former options, another name, or --fresh, which begins again."
            rule = "unfinished work on the same options and sessions"
            fail("preprocess", str(folder), rule, f"other {differ}", remedy)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, request)


def _differences(there: dict[str, Any], request: dict[str, Any]) -> Iterator[str]:
    """The names of what is not the same."""
    for part, values in request.items():
        before = there.get(part)
        if isinstance(values, dict) and isinstance(before, dict):
            yield from sorted(key for key in {*values, *before} if values.get(key) != before.get(key))
        elif values != before:
            yield part
