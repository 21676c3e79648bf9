"""The options of commands that take any layout: tiles by `--layout`, or a crop strategy by `--crops`."""

from __future__ import annotations

from typing import Any

from refkp._checks import fail
from refkp.systems.panorama.crops import CropSpec, crop_layout
from refkp.systems.panorama.layout import ErpLayout, LayoutSpec


def add_layout_options(parser: Any) -> None:
    """Add `--layout.*` and `--crops.*` to a jsonargparse parser."""
    parser.add_argument("--layout", type=LayoutSpec, default=LayoutSpec(), help="the tile layout")
    parser.add_argument(
        "--crops", type=CropSpec | None, default=None, help="a crop strategy in place of the tile layout"
    )


def chosen_layout(options: Any, erp_height: int, view_size: int) -> ErpLayout:
    """The layout that the options ask for, for panoramas of `erp_height` rows.

    Raises:
        ValueError: both a tile layout and a crop strategy are asked for.
    """
    if options.crops is not None:
        if options.layout != LayoutSpec():
            fail("layout", "--layout", "left alone with --crops", options.layout, "Give one of the two.")
        return crop_layout(options.crops, (erp_height, 2 * erp_height), view_size)
    return ErpLayout.build(options.layout)
