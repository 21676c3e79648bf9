"""The options of commands that take any layout: tiles by `--layout`, or a crop strategy by `--crops`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from refkp.systems.panorama.views.spec import CropSpec, LayoutSpec

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from refkp.systems.panorama.views.layout import ErpLayout


def add_layout_options(parser: ArgumentParser) -> None:
    """Add `--layout.*` and `--crops.*`."""
    parser.add_argument("--layout", type=LayoutSpec, default=LayoutSpec(), help="the tile layout")
    parser.add_argument(
        "--crops", type=CropSpec | None, default=None, help="a crop strategy in place of the tile layout"
    )


def chosen_layout(options: Any, erp_height: int, view_size: int) -> ErpLayout:
    """The layout that the options ask for, as `crops.layout_of`."""
    from refkp.systems.panorama.views.crops import layout_of

    return layout_of(options.layout, options.crops, erp_height, view_size)
