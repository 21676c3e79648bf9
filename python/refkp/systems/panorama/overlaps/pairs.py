"""Which tiles of a layout are compared with which: three strategies, two overlap estimates.

Source: spec panorama 3.3 (strategies, box estimate) and 3.5.5 (solid angle).
"""

from __future__ import annotations

import functools
from itertools import combinations, pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from refkp.geometry import sphere
from refkp.systems.panorama.overlaps.spec import PairRule
from refkp.systems.panorama.views.layout import ErpLayout, ViewRecord, wrap180


class TilePairs(NamedTuple):
    """Unordered tile pairs i < j in lexicographic order."""

    ij: Tensor  # int64 [P,2], tile ids
    overlap: Tensor  # float64 [P], in [0,1]


@functools.lru_cache(maxsize=256)
def tile_pairs(layout: ErpLayout, rule: PairRule = PairRule()) -> TilePairs:  # noqa: B008 (frozen)
    """The pairs of tiles of `layout` that `rule` keeps; there may be none."""
    kept = []
    for i, j in _candidates(layout, rule):
        overlap = _OVERLAPS[rule.estimate](layout, i, j)
        if overlap > rule.min_overlap:
            kept.append((i, j, overlap))
    ij = torch.tensor([(i, j) for i, j, _ in kept], dtype=torch.int64).reshape(-1, 2)
    return TilePairs(ij, torch.tensor([overlap for *_, overlap in kept], dtype=torch.float64))


def tile_distance(layout: ErpLayout) -> Tensor:
    """Great-circle distance of the tile centres in radians, float64 [N,N]."""
    forward = layout.rotations[..., 2]
    return sphere.great_circle_distance(forward[:, None], forward[None])


def _candidates(layout: ErpLayout, rule: PairRule) -> list[tuple[int, int]]:
    if rule.strategy == "adjacent":
        return sorted(_adjacent(layout))
    pairs = combinations(range(len(layout.tiles)), 2)
    if rule.strategy == "all_pairs":
        return list(pairs)
    near = torch.rad2deg(tile_distance(layout)) < rule.max_distance_deg
    return [(i, j) for i, j in pairs if near[i, j]]


def _adjacent(layout: ErpLayout) -> set[tuple[int, int]]:
    rows: dict[int, list[ViewRecord]] = {}
    for tile in sorted(layout.tiles, key=lambda tile: (tile.row, tile.yaw_deg)):
        rows.setdefault(tile.row, []).append(tile)
    found = [pair for row in rows.values() for pair in _ring(row)]
    for lower, upper in pairwise(rows.values()):
        found += [(a, b) for a in lower for b in upper if _may_touch(a, b)]
    return {(min(a.tile_id, b.tile_id), max(a.tile_id, b.tile_id)) for a, b in found}


def _may_touch(a: ViewRecord, b: ViewRecord) -> bool:
    sees_pole = any(abs(tile.pitch_deg) + tile.vfov_deg / 2 >= 90.0 for tile in (a, b))
    return sees_pole or _yaw_gap(a, b) < max(a.hfov_deg, b.hfov_deg)


def _ring(row: list[ViewRecord]) -> list[tuple[ViewRecord, ViewRecord]]:
    neighbours = list(pairwise(row))
    if len(row) > 2 and row[-1].yaw_deg - row[0].yaw_deg > 180.0:
        neighbours.append((row[-1], row[0]))
    return neighbours


def _yaw_gap(a: ViewRecord, b: ViewRecord) -> float:
    return abs(wrap180(a.yaw_deg - b.yaw_deg))


def _box_overlap(layout: ErpLayout, i: int, j: int) -> float:
    a, b = layout.tiles[i], layout.tiles[j]
    yaw = max(0.0, (a.hfov_deg + b.hfov_deg) / 2 - _yaw_gap(a, b)) / min(a.hfov_deg, b.hfov_deg)
    pitch = max(0.0, (a.vfov_deg + b.vfov_deg) / 2 - abs(a.pitch_deg - b.pitch_deg)) / min(
        a.vfov_deg, b.vfov_deg
    )
    return min(max(yaw * pitch, 0.0), 1.0)


def _solid_angle_overlap(layout: ErpLayout, i: int, j: int) -> float:
    rotation, half_tangent = layout.rotations, layout.half_tangents
    shared = sphere.intersection_solid_angle(rotation[i], half_tangent[i], rotation[j], half_tangent[j])
    return shared / float(sphere.tile_solid_angle(half_tangent[[i, j]]).min())


_OVERLAPS = {"box": _box_overlap, "solid_angle": _solid_angle_overlap}
