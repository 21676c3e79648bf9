"""A made-up animal that walks: its joints, its bones, where they are in each frame."""

from __future__ import annotations

import numpy as np

#: Joint -> its place in the standing animal, in body lengths: x forward from the middle, y to the left, z up.
STANDING: dict[str, tuple[float, float, float]] = {
    "nose": (0.62, 0.0, 0.22),
    "head": (0.48, 0.0, 0.3),
    "ear_left": (0.43, 0.09, 0.36),
    "ear_right": (0.43, -0.09, 0.36),
    "neck": (0.33, 0.0, 0.28),
    "shoulder_left": (0.25, 0.12, 0.2),
    "shoulder_right": (0.25, -0.12, 0.2),
    "paw_front_left": (0.27, 0.15, 0.0),
    "paw_front_right": (0.27, -0.15, 0.0),
    "trunk": (0.0, 0.0, 0.27),
    "hip_left": (-0.28, 0.14, 0.2),
    "hip_right": (-0.28, -0.14, 0.2),
    "paw_hind_left": (-0.26, 0.17, 0.0),
    "paw_hind_right": (-0.26, -0.17, 0.0),
    "tail_base": (-0.38, 0.0, 0.2),
    "tail_middle": (-0.6, 0.0, 0.17),
    "tail_tip": (-0.85, 0.0, 0.12),
}

JOINTS = tuple(STANDING)

BONES: tuple[tuple[str, str], ...] = (
    ("nose", "head"),
    ("head", "ear_left"),
    ("head", "ear_right"),
    ("head", "neck"),
    ("neck", "trunk"),
    ("neck", "shoulder_left"),
    ("neck", "shoulder_right"),
    ("shoulder_left", "paw_front_left"),
    ("shoulder_right", "paw_front_right"),
    ("trunk", "tail_base"),
    ("tail_base", "hip_left"),
    ("tail_base", "hip_right"),
    ("hip_left", "paw_hind_left"),
    ("hip_right", "paw_hind_right"),
    ("tail_base", "tail_middle"),
    ("tail_middle", "tail_tip"),
)

_STRIDE = 0.6  # body lengths in a cycle of the legs
_SPEED = 1.6  # body lengths in a second
_ARENA = 0.9  # radius of the walk, body lengths


def walk(num_frames: int, body_length: float, fps: float, rng: np.random.Generator) -> np.ndarray:
    """Joints of an animal that walks a bent loop on the floor z = 0: float64 [F,J,3], in the unit of `body_length`."""
    time = np.arange(num_frames) / fps
    phase, direction = rng.uniform(0, 2 * np.pi), rng.choice([-1.0, 1.0])
    angle = phase + direction * _SPEED / _ARENA * time
    radius = _ARENA * (1 + 0.25 * np.sin(2 * angle + rng.uniform(0, 2 * np.pi)))
    place = np.stack((radius * np.cos(angle), radius * np.sin(angle)), -1)
    heading = angle + direction * np.pi / 2
    joints = np.tile(np.array(list(STANDING.values())), (num_frames, 1, 1))
    joints += _gait(2 * np.pi * _SPEED / _STRIDE * time)
    joints += _turns_of_head(time, rng)
    forward, left = joints[..., 0], joints[..., 1]
    cos, sin = np.cos(heading)[:, None], np.sin(heading)[:, None]
    world = np.stack((forward * cos - left * sin, forward * sin + left * cos, joints[..., 2]), -1)
    world[..., :2] += place[:, None]
    return world * body_length


def _gait(cycle: np.ndarray) -> np.ndarray:
    """Offsets of the joints through the cycle of a trot: [F,J,3]."""
    offsets = np.zeros((len(cycle), len(JOINTS), 3))
    for names, shift in (
        (("paw_front_left", "paw_hind_right"), 0.0),
        (("paw_front_right", "paw_hind_left"), np.pi),
    ):
        for name in names:
            offsets[:, JOINTS.index(name), 0] = 0.12 * np.sin(cycle + shift)
            offsets[:, JOINTS.index(name), 2] = 0.07 * np.maximum(0, np.cos(cycle + shift))
    for name, reach in (("tail_base", 0.02), ("tail_middle", 0.08), ("tail_tip", 0.18)):
        offsets[:, JOINTS.index(name), 1] = reach * np.sin(cycle / 2 + reach * 8)
    offsets[..., 2] += 0.02 * np.sin(2 * cycle)[:, None] * (np.array(list(STANDING.values()))[:, 2] > 0.1)
    return offsets


def _turns_of_head(time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The head looks about, with the ears and the nose: [F,J,3]."""
    offsets = np.zeros((len(time), len(JOINTS), 3))
    look = np.sin(2 * np.pi * 0.7 * time + rng.uniform(0, 2 * np.pi))
    for name, reach in (("nose", 0.16), ("head", 0.08), ("ear_left", 0.06), ("ear_right", 0.06)):
        offsets[:, JOINTS.index(name), 1] = reach * look
        offsets[:, JOINTS.index(name), 2] += reach * 0.4 * look**2
    return offsets
