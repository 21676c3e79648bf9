"""The crop strategies of the panorama image processor, each as a layout.

Every strategy becomes an `ErpLayout` of global, crop and tile views, which `views.render_views` renders in
one path. Source: spec panorama 2.6. Unlike the original, the yaw of a sliding window is that of its centre,
and a strategy never repeats a view to fill up a count.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

from refkp._checks import fail
from refkp.systems.panorama.views.layout import ErpLayout
from refkp.systems.panorama.views.placement import tile_centres
from refkp.systems.panorama.views.records import (
    FULL,
    ViewRecord,
    crop_record,
    global_record,
    letterbox_box,
    numbered,
    tile_record,
)
from refkp.systems.panorama.views.spec import CropSpec, LayoutSpec, Strategy

Size = tuple[int, int]  # height, width


def crop_layout(spec: CropSpec, erp_size: Size, size: Size | int = 224) -> ErpLayout:
    """The views of a strategy.

    Args:
        spec: the strategy and its parameters.
        erp_size: (height, width) of the panorama; crops are whole pixels of it.
        size: (height, width) of the views, or their side; trimmed tiles lose whole rows of it.

    Raises:
        ValueError: a panorama too small for the crops.

    >>> crop_layout(CropSpec("anyres"), (512, 1024)).num_views
    13
    """
    view_size = (size, size) if isinstance(size, int) else size
    if min(*erp_size, *view_size) < 1:
        fail("crop_layout", "erp_size, size", "positive", (erp_size, view_size))
    return ErpLayout(numbered(_STRATEGIES[spec.strategy](spec, erp_size, view_size)))


def layout_of(tiles: LayoutSpec, crops: CropSpec | None, erp_height: int, size: Size | int) -> ErpLayout:
    """The layout of a crop strategy where one is given, else that of `tiles`.

    Args:
        tiles: left at its defaults when `crops` is given, since it would not be read.
        crops: a strategy, or None.
        erp_height: rows of the panoramas.
        size: of the views, as in `crop_layout`.

    Raises:
        ValueError: both a tile layout and a crop strategy.
    """
    if crops is None:
        return ErpLayout.build(tiles)
    if tiles != LayoutSpec():
        fail("layout_of", "layout", "left alone beside `crops`", tiles, "Give one of the two.")
    return crop_layout(crops, (erp_height, 2 * erp_height), size)


def _anyres_e2p(spec: CropSpec, erp_size: Size, size: Size) -> list[ViewRecord]:
    centres = tile_centres(LayoutSpec(hfov_deg=spec.fov_deg, overlap=spec.overlap))
    fov = (spec.fov_deg, spec.fov_deg)
    tiles = [tile_record(c.yaw_deg, c.pitch_deg, 0.0, fov, (c.row, c.col)) for c in centres]
    return [global_record(letterbox_box(erp_size)), *tiles]


def _e2p(spec: CropSpec, erp_size: Size, size: Size) -> list[ViewRecord]:
    step = spec.fov_deg * (1 - spec.overlap)
    yaws = [k * step % 360 for k in range(_ring_count(spec))]
    return _level_tiles(spec.fov_deg, yaws, size, trimmed=0.1)


def _ring_count(spec: CropSpec) -> int:
    return math.ceil(360 / (spec.fov_deg * (1 - spec.overlap)))


def _level_tiles(fov_deg: float, yaws: list[float], size: Size, trimmed: float = 0.0) -> list[ViewRecord]:
    """Tiles on the horizon, yaw in (-180,180], without half of the part `trimmed` of their rows at either
    end.
    """
    kept = size[0] - 2 * int(size[0] * trimmed / 2)
    tangent = math.tan(math.radians(fov_deg) / 2)
    vfov_deg = fov_deg if kept == size[0] else math.degrees(2 * math.atan(tangent * kept / size[0]))
    return [
        tile_record(yaw if yaw <= 180 else yaw - 360, 0.0, 0.0, (fov_deg, vfov_deg), (0, col))
        for col, yaw in enumerate(yaws)
    ]


def _cubemap(spec: CropSpec, erp_size: Size, size: Size) -> list[ViewRecord]:
    return _level_tiles(90.0, [0.0, 90.0, 180.0, 270.0], size)


def _sliding_window(spec: CropSpec, erp_size: Size, size: Size) -> list[ViewRecord]:
    height, width = erp_size
    columns = int(width * spec.fov_deg / 360)
    stride = int(columns * (1 - spec.overlap))
    if stride < 1:
        remedy = "Use a larger panorama or a smaller overlap."
        fail("crop_layout", "erp_size", "wide enough for a step of one pixel", f"{width} columns", remedy)
    margin = height // 12
    return [
        crop_record((k * stride % width, margin, columns, height - 2 * margin), erp_size, (0, k))
        for k in range(_ring_count(spec))
    ]


def _resize(spec: CropSpec, erp_size: Size, size: Size) -> list[ViewRecord]:
    return [global_record(FULL)]


def _anyres(spec: CropSpec, erp_size: Size, size: Size) -> list[ViewRecord]:
    height, quarter = erp_size[0], erp_size[0] // 4
    num_horizon = min(6, spec.max_patches // 2)
    horizon = _columns(num_horizon, height // 2 - quarter, 2 * quarter, erp_size, row=1)
    left = spec.max_patches - num_horizon
    num_full = min(left, num_horizon)
    full = _columns(num_full, 0, height, erp_size, row=0)
    left -= num_full
    tiles = _level_tiles(spec.fov_deg, [315 * k / left for k in range(left)], size, trimmed=0.2)
    return [global_record(FULL), *horizon, *full, *tiles]


def _anyres_max(spec: CropSpec, erp_size: Size, size: Size) -> list[ViewRecord]:
    height, width = erp_size
    across = min(6, spec.max_patches // 2)
    down = min(3, spec.max_patches // across)
    columns, rows = width // across, height // down
    _require_pixels(min(columns, rows), erp_size)
    grid = [
        crop_record((col * columns, row * rows, columns, rows), erp_size, (down - 1 - row, col))
        for row in range(down)
        for col in range(across)
    ]
    left = spec.max_patches - across * down
    return [
        global_record(FULL),
        *grid,
        *_level_tiles(spec.fov_deg, [360 * k / left for k in range(left)], size),
    ]


def _columns(count: int, top: int, rows: int, erp_size: Size, row: int) -> list[ViewRecord]:
    """`count` crops side by side, which together are as wide as the panorama."""
    edges = [int(k * erp_size[1] / count) for k in range(count + 1)] if count else []
    spans = list(pairwise(edges))
    _require_pixels(min([rows, *(right - left for left, right in spans)]), erp_size)
    return [
        crop_record((left, top, right - left, rows), erp_size, (row, col))
        for col, (left, right) in enumerate(spans)
    ]


def _require_pixels(least: int, erp_size: Size) -> None:
    if least < 1:
        fail("crop_layout", "erp_size", "large enough for crops of one pixel", erp_size)


_STRATEGIES: dict[Strategy, Callable[[CropSpec, Size, Size], list[ViewRecord]]] = {
    "e2p": _e2p,
    "sliding_window": _sliding_window,
    "cubemap": _cubemap,
    "resize": _resize,
    "anyres": _anyres,
    "anyres_max": _anyres_max,
    "anyres_e2p": _anyres_e2p,
}
