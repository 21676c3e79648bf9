"""Smooth random fields in space, the same on every machine: what textures are made of."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

_PRIMES = np.array([73856093, 19349663, 83492791])  # spread lattice points over hash keys


def value_noise(point: Array) -> Array:
    """Smooth value noise in [0,1]: three octaves over lattice points hashed to random values."""
    total = np.zeros(len(point), np.float32)
    for octave in range(3):
        scaled = point * np.float32(2**octave)
        cell = np.floor(scaled)
        t = scaled - cell
        t *= t * (3 - 2 * t)
        keys = cell.astype(np.int64) * _PRIMES
        for dx, dy, dz in itertools.product((0, 1), repeat=3):
            weight = np.abs(1 - dx - t[:, 0]) * np.abs(1 - dy - t[:, 1]) * np.abs(1 - dz - t[:, 2])
            key = (
                (keys[:, 0] + dx * _PRIMES[0])
                ^ (keys[:, 1] + dy * _PRIMES[1])
                ^ (keys[:, 2] + dz * _PRIMES[2])
            )
            total += weight * _hash(key) * np.float32(0.5**octave / 1.75)
    return total


def _hash(key: NDArray[np.int64]) -> Array:
    """A fixed pseudo-random value in [0,1) for each key."""
    mixed = (key.astype(np.uint64) ^ (key.astype(np.uint64) >> np.uint64(15))) * np.uint64(0x9E3779B97F4A7C15)
    return (mixed >> np.uint64(48)).astype(np.float32) / np.float32(65536)
