"""Made-up inputs for demos and tests: panoramas of a procedural street scene.

A panorama is ray cast: ground plane, textured boxes as houses and trunks, a sun, sky and clouds. Everything
follows from the seed, so a set of panoramas needs no files and no licence.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from refkp._checks import fail
from refkp.data.noise import value_noise
from refkp.geometry import sphere

Array = NDArray[np.float32]

_EYE_HEIGHT = 1.7  # metres above the ground


class _Boxes(NamedTuple):
    """Axis-aligned boxes around the camera, y up, the ground at -_EYE_HEIGHT."""

    low: Array  # [n,3]
    high: Array  # [n,3]
    colour: Array  # [n,3]
    window: Array  # [n] size of a window in metres; 0: none


class _Hits(NamedTuple):
    """The nearest surface along each of r rays."""

    distance: Array  # [r], infinite for the sky
    box: NDArray[np.int64]  # [r], -1 for ground and sky
    normal: Array  # [r,3]


def render_panorama(seed: int, height: int = 512, *, supersample: int = 2) -> Tensor:
    """One equirectangular picture of a made-up scene.

    Convention: x right, y up, z forward; the image middle looks forward, as in `refkp.ops.e2p`.

    Args:
        seed: picks the scene.
        height: rows of the picture, at least 2; it has twice as many columns.
        supersample: rays per pixel along either axis.

    Returns:
        uint8 [3,height,2*height].

    >>> render_panorama(0, 16).shape
    torch.Size([3, 16, 32])
    """
    if height < 2:
        fail("render_panorama", "height", "at least 2", height)
    if supersample < 1:
        fail("render_panorama", "supersample", "at least 1", supersample)
    generator = np.random.default_rng(seed)
    rows = height * supersample
    rays = sphere.erp_directions(rows, 2 * rows).reshape(-1, 3).numpy().astype(np.float32)
    boxes, sun = _scene(generator), _sun(generator)
    phase = generator.uniform(0, 100, 3).astype(np.float32)
    colour = _shade(rays, _cast(rays, boxes), boxes, sun, phase)
    colour = colour.reshape(height, supersample, 2 * height, supersample, 3).mean((1, 3))
    picture = (255 * np.clip(colour, 0, 1) ** (1 / 2.2) + 0.5).astype(np.uint8)
    return torch.from_numpy(picture).permute(2, 0, 1).contiguous()


def sun_azimuth_deg(seed: int) -> float:
    """Where the sun stands in `render_panorama(seed)`: degrees to the right of the picture's middle, in [-180,180].

    >>> round(sun_azimuth_deg(0))
    -175
    """
    generator = np.random.default_rng(seed)
    _scene(generator)  # drawn before the sun
    sun = _sun(generator)
    return float(np.degrees(np.arctan2(sun[0], sun[2])))


def _scene(generator: np.random.Generator) -> _Boxes:
    """Houses around a square, and thin trunks nearer by."""
    houses, trunks = int(generator.integers(7, 12)), int(generator.integers(3, 7))
    azimuth = np.concatenate(
        [
            np.arange(houses) * 2 * np.pi / houses + generator.uniform(-0.25, 0.25, houses),
            generator.uniform(0, 2 * np.pi, trunks),
        ]
    )
    distance = np.concatenate([generator.uniform(9, 24, houses), generator.uniform(4, 8, trunks)])
    half = np.concatenate([generator.uniform(2, 5, (houses, 2)), np.full((trunks, 2), 0.22)])
    tall = np.concatenate([generator.uniform(3, 14, houses), generator.uniform(2.5, 5, trunks)])
    centre = np.stack([distance * np.sin(azimuth), distance * np.cos(azimuth)], -1)
    ground = np.full(houses + trunks, -_EYE_HEIGHT)
    low = np.stack([centre[:, 0] - half[:, 0], ground, centre[:, 1] - half[:, 1]], -1)
    high = np.stack([centre[:, 0] + half[:, 0], ground + tall, centre[:, 1] + half[:, 1]], -1)
    colour = np.concatenate(
        [generator.uniform(0.15, 0.8, (houses, 3)), np.tile([[0.12, 0.07, 0.04]], (trunks, 1))]
    )
    window = np.concatenate([generator.uniform(0.7, 1.8, houses), np.zeros(trunks)])
    return _Boxes(*(item.astype(np.float32) for item in (low, high, colour, window)))


def _sun(generator: np.random.Generator) -> Array:
    azimuth, elevation = generator.uniform(0, 2 * np.pi), generator.uniform(0.3, 1.0)
    across = np.cos(elevation)
    return np.array([across * np.sin(azimuth), np.sin(elevation), across * np.cos(azimuth)], np.float32)


def _cast(rays: Array, boxes: _Boxes) -> _Hits:
    """The ground or the nearest box, by slabs."""
    with np.errstate(divide="ignore"):
        inverse = np.ascontiguousarray(np.float32(1) / rays.T)  # [3,r]: extremes over three rows are quick
    distance = np.where(rays[:, 1] < 0, -_EYE_HEIGHT * inverse[1], np.float32(np.inf))
    box = np.full(len(rays), -1)
    normal = np.tile(np.array([0, 1, 0], np.float32), (len(rays), 1))
    for index in range(len(boxes.low)):
        a, b = boxes.low[index, :, None] * inverse, boxes.high[index, :, None] * inverse
        near, far = np.minimum(a, b), np.maximum(a, b)
        enter = near.max(0)
        hit = (enter < far.min(0)) & (enter > 0) & (enter < distance)
        axis = near[:, hit].argmax(0)
        distance[hit], box[hit] = enter[hit], index
        normal[hit] = (
            -np.sign(rays[hit][np.arange(len(axis)), axis])[:, None] * np.eye(3, dtype=np.float32)[axis]
        )
    return _Hits(distance, box, normal)


def _shade(rays: Array, hits: _Hits, boxes: _Boxes, sun: Array, phase: Array) -> Array:
    """Linear colour of each ray: surface times light, fading into the sky with distance."""
    sky = _sky(rays, sun, phase)
    solid = np.isfinite(hits.distance)
    point = rays[solid] * hits.distance[solid, None]
    colour = _surface(point, hits.box[solid], hits.normal[solid], boxes, phase)
    light = 0.35 + 0.75 * np.clip(hits.normal[solid] @ sun, 0, None)
    haze = np.exp(-hits.distance[solid] / 60)[:, None]
    out = sky.copy()
    out[solid] = haze * colour * light[:, None] + (1 - haze) * sky[solid]
    return out


def _surface(point: Array, box: NDArray[np.int64], normal: Array, boxes: _Boxes, phase: Array) -> Array:
    """Paving on the ground, plaster with windows on the boxes."""
    colour = np.empty_like(point)
    ground = box < 0
    colour[ground] = _paving(point[ground] + phase)
    wall, grain = box[~ground], value_noise(point[~ground] * np.float32(1.1) + phase)
    plaster = boxes.colour[wall] * (0.75 + 0.4 * grain)[:, None]
    glass = _is_window(point[~ground], normal[~ground], boxes.window[wall])
    colour[~ground] = np.where(glass[:, None], np.array([0.05, 0.08, 0.13], np.float32), plaster)
    return colour


def _paving(point: Array) -> Array:
    stones = (np.floor(point[:, 0] / 1.3) + np.floor(point[:, 2] / 0.9)) % 2
    grey = 0.22 + 0.1 * stones + 0.25 * value_noise(point * np.float32(2.3))
    return grey[:, None] * np.array([1.0, 0.95, 0.85], np.float32)


def _is_window(point: Array, normal: Array, window: Array) -> NDArray[np.bool_]:
    """Windows in a lattice over the upright faces, along x or z and y."""
    along = np.where(np.abs(normal[:, 0]) > 0.5, point[:, 2], point[:, 0])
    size = np.maximum(window, 1e-3)
    inside = (np.mod(along, 2 * size) < size) & (np.mod(point[:, 1] + _EYE_HEIGHT, 2 * size) > size)
    return inside & (window > 0) & (np.abs(normal[:, 1]) < 0.5)


def _sky(rays: Array, sun: Array, phase: Array) -> Array:
    """Blue overhead, pale at the horizon, clouds on a plane far above, and the sun."""
    up = np.clip(rays[:, 1:2], 0, 1)
    colour = (1 - up) * np.array([0.72, 0.80, 0.90], np.float32) + up * np.array(
        [0.14, 0.32, 0.70], np.float32
    )
    above = rays[:, 1] > 0
    plane = np.zeros((int(above.sum()), 3), np.float32)
    plane[:, :2] = 1.4 * rays[above][:, [0, 2]] / np.maximum(up[above], 0.06)
    cloud = np.zeros_like(up)
    cloud[above, 0] = np.clip(3 * value_noise(plane + phase) - 1.3, 0, 1)
    cloud *= np.sqrt(up)
    glow = np.clip(rays @ sun, 0, 1)[:, None]
    return (colour * (1 - cloud) + cloud + glow**800 * 4 + 0.25 * glow**12).astype(np.float32)
