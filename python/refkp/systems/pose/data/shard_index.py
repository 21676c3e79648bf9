"""Where the samples of a tar file lie, kept in a file beside it: random access without unpacking.

A sample is the run of members with one key, the name up to the first dot. The index holds its first and last
byte, and the objects in it, so that a training set is put together without opening a picture. It is valid
while size and time of change of the tar file stay.
"""

from __future__ import annotations

import io
import json
import tarfile
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from refkp._files import write_text
from refkp.systems.pose.data.json_values import parse_json
from refkp.systems.pose.data.records import Annotation, num_inexact, parse_annotations

#: The endings of the members of a sample; of the picture, one of `RGB_SUFFIXES`.
SUFFIXES = ("depth.png", "camera.json", "gt.json", "gt_info.json", "mask_visib.json")
RGB_SUFFIXES = ("rgb.jpg", "rgb.png", "rgb.jpeg")

_VERSION = 2
_BLOCK = tarfile.BLOCKSIZE


class Sample(NamedTuple):
    """One picture in a tar file."""

    key: str  # as in the names of its members, the text of a `PictureKey`
    start: int  # first byte of its first header
    end: int  # one after its last byte, padding included
    annotations: tuple[Annotation, ...]
    num_inexact: int  # rotations that are not exact, see `records.num_inexact`


def load_index(shard: Path, index_folder: Path | None = None) -> tuple[Sample, ...]:
    """The samples of a shard, from its index file, which is written first if there is no valid one.

    Args:
        shard: the tar file.
        index_folder: where index files lie, for shards of any folders; None: beside the shards.

    Raises:
        ValueError: the shard is truncated, a sample lacks a member, or its JSON is broken.
        OSError: the index cannot be written.
    """
    path = _index_path(shard, index_folder)
    stamp = {"version": _VERSION, "size": shard.stat().st_size, "mtime_ns": shard.stat().st_mtime_ns}
    known = _read_index(path, stamp)
    if known is not None:
        return known
    samples = scan_shard(shard)
    try:
        write_text(path, json.dumps({"stamp": stamp, "samples": samples}))
    except OSError as error:
        remedy = "Name a folder that can be written with `index_folder`."
        raise OSError(f"load_index: the index of {shard} cannot be written: {error}. {remedy}") from None
    return samples


def scan_shard(shard: Path) -> tuple[Sample, ...]:
    """The samples of a tar file, in order, by reading all its headers; errors as in `load_index`."""
    _require_end(shard)
    runs: dict[str, list[tarfile.TarInfo]] = {}
    previous = ""
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                if not member.isfile():
                    continue
                key = member_key(member.name)
                if key in runs and key != previous:
                    raise ValueError(f"{shard.name}: the members of {key} do not follow one another.")
                runs.setdefault(key, []).append(member)
                previous = key
            return tuple(_sample(shard.name, key, members, archive) for key, members in runs.items())
    except tarfile.TarError as error:
        last = f" after member {runs[previous][-1].name}" if previous else ""
        raise ValueError(f"{shard.name}: broken{last}: {error}. Fetch or write it again.") from None


def read_sample(shard: Path, start: int, end: int) -> dict[str, bytes]:
    """Ending -> content of the members of one sample.

    The file is opened for this read alone, so that processes share nothing.
    """
    with shard.open("rb") as file:
        file.seek(start)
        data = file.read(end - start)
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            members = [member for member in archive if member.isfile()]
            return {member_suffix(member.name): _content(archive, member) for member in members}
    except tarfile.TarError as error:
        raise ValueError(
            f"{shard.name}: bytes {start} to {end} are broken: {error}. Fetch it again."
        ) from None


def member_key(name: str) -> str:
    """The sample that a member belongs to.

    >>> member_key("./000000_000003.gt_info.json")
    '000000_000003'
    """
    return name.rpartition("/")[2].partition(".")[0]


def member_suffix(name: str) -> str:
    """The ending of a member, without the first dot.

    >>> member_suffix("./000000_000003.gt_info.json")
    'gt_info.json'
    """
    return name.rpartition("/")[2].partition(".")[2]


def _index_path(shard: Path, index_folder: Path | None) -> Path:
    if index_folder is None:
        return shard.with_name(f"{shard.name}.index.json")
    place = sha256(str(shard.parent.resolve()).encode()).hexdigest()[:12]  # shards of all sets have one name
    return index_folder / place / f"{shard.name}.index.json"


def _read_index(path: Path, stamp: dict[str, int]) -> tuple[Sample, ...] | None:
    """The samples in an index file; None if it is not there or belongs to another state of the shard."""
    if not path.is_file():
        return None
    content: dict[str, Any] = parse_json(path.read_bytes(), str(path))
    if content["stamp"] != stamp:
        return None
    return tuple(
        Sample(key, start, end, tuple(Annotation(*annotation) for annotation in annotations), inexact)
        for key, start, end, annotations, inexact in content["samples"]
    )


def _require_end(shard: Path) -> None:
    """A tar file ends with two blocks of zeros; one that was cut off between two members does not."""
    with shard.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(max(0, size - 2 * _BLOCK))
        tail = file.read()
    if size % _BLOCK or len(tail) < 2 * _BLOCK or any(tail):
        raise ValueError(f"{shard.name}: truncated: the end mark of a tar file is missing. Fetch it again.")


def _sample(shard: str, key: str, members: list[tarfile.TarInfo], archive: tarfile.TarFile) -> Sample:
    by_suffix = {member_suffix(member.name): member for member in members}
    missing = [suffix for suffix in SUFFIXES if suffix not in by_suffix]
    if not any(suffix in by_suffix for suffix in RGB_SUFFIXES):
        missing.insert(0, RGB_SUFFIXES[0])
    if missing:
        raise ValueError(f"{shard}: member {key}.{missing[0]} is missing. Fetch or write the shard again.")
    gt, gt_info = (
        parse_json(_content(archive, by_suffix[suffix]), f"{shard}: member {key}.{suffix}")
        for suffix in ("gt.json", "gt_info.json")
    )
    annotations = parse_annotations(gt, gt_info, f"{shard}: sample {key}")
    last = members[-1]
    padded = -(-last.size // _BLOCK) * _BLOCK
    return Sample(key, members[0].offset, last.offset_data + padded, annotations, num_inexact(gt))


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    if file is None:
        raise tarfile.ReadError(f"{member.name} is no file")
    return file.read()
