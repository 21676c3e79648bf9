"""Plays a .bvh: the places of its joints at every frame; shares nothing with the writer."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np


class PlayedBvh(NamedTuple):
    names: list[str]  # in the order of the file
    joints: np.ndarray  # [F,J,3]
    num_ends: int
    frame_time: float
    channels: np.ndarray  # [F,C] as they stand


class _Joint(NamedTuple):
    name: str
    parent: int
    offset: np.ndarray
    channels: list[str]


def play_bvh(path: Path) -> PlayedBvh:
    head, _, motion = path.read_text().partition("MOTION\n")
    joints, num_ends = _hierarchy(head.split())
    lines = motion.splitlines()
    values = np.array([[float(word) for word in line.split()] for line in lines[2:]])
    assert lines[0] == f"Frames: {len(values)}"
    assert values.shape[1] == sum(len(joint.channels) for joint in joints)
    places = np.stack([_places(joints, row) for row in values])
    frame_time = float(lines[1].removeprefix("Frame Time: "))
    return PlayedBvh([joint.name for joint in joints], places, num_ends, frame_time, values)


def _hierarchy(words: list[str]) -> tuple[list[_Joint], int]:
    joints: list[_Joint] = []
    above, num_ends, at = [-1], 0, 1
    assert words[0] == "HIERARCHY"
    while at < len(words):
        if words[at] in ("ROOT", "JOINT"):
            assert words[at + 2 : at + 4] == ["{", "OFFSET"]
            count = int(words[at + 8])
            assert words[at + 7] == "CHANNELS"
            offset = np.array(words[at + 4 : at + 7], float)
            joints.append(_Joint(words[at + 1], above[-1], offset, words[at + 9 : at + 9 + count]))
            above.append(len(joints) - 1)
            at += 9 + count
        elif words[at] == "End":
            assert words[at + 1 : at + 4] == ["Site", "{", "OFFSET"]
            assert words[at + 7] == "}"
            num_ends, at = num_ends + 1, at + 8
        else:
            assert words[at] == "}"
            above.pop()
            at += 1
    assert above == [-1]
    return joints, num_ends


def _places(joints: list[_Joint], row: np.ndarray) -> np.ndarray:
    frames: list[np.ndarray] = []
    left = list(row)
    for joint in joints:
        own = np.eye(4)
        own[:3, 3] = joint.offset
        for channel in joint.channels:
            value, axis = left.pop(0), "XYZ".index(channel[0])
            if channel.endswith("position"):
                own[axis, 3] += value
            else:
                own = own @ _turn(axis, np.radians(value))
        frames.append(own if joint.parent < 0 else frames[joint.parent] @ own)
    return np.stack([frame[:3, 3] for frame in frames])


def _turn(axis: int, angle: float) -> np.ndarray:
    matrix = np.eye(4)
    a, b = (axis + 1) % 3, (axis + 2) % 3
    matrix[a, a] = matrix[b, b] = np.cos(angle)
    matrix[b, a] = np.sin(angle)
    matrix[a, b] = -matrix[b, a]
    return matrix
