"""How a model is shown its panoramas, in training and afterwards alike (spec panorama 7.19)."""

from __future__ import annotations

from dataclasses import dataclass, field

from refkp._checks import fail
from refkp.systems.panorama.batch import ErpBatch, PanoBatch
from refkp.systems.panorama.views.crops import layout_of
from refkp.systems.panorama.views.layout import ErpLayout
from refkp.systems.panorama.views.rendering import Antialias, render_views
from refkp.systems.panorama.views.spec import CropSpec, LayoutSpec


@dataclass(frozen=True)
class Viewing:
    """The views of a panorama.

    Args:
        layout: where they look.
        crops: a crop strategy in place of `layout`.
        view_size: their side in pixels.
        erp_height: rows of the decoded panorama; about 180 / fov times the view size avoids aliasing.
        antialias: of the rendering, as in `ops.e2p`.
    """

    layout: LayoutSpec = field(default_factory=LayoutSpec)
    crops: CropSpec | None = None
    view_size: int = 224
    erp_height: int = 1024
    antialias: Antialias = "none"

    def __post_init__(self) -> None:
        for name in ("view_size", "erp_height"):
            if getattr(self, name) < 1:
                fail("Viewing", name, "at least 1", getattr(self, name))

    def build_layout(self) -> ErpLayout:
        """The views as a layout."""
        return layout_of(self.layout, self.crops, self.erp_height, self.view_size)

    def render(self, batch: ErpBatch) -> PanoBatch:
        """The views of a batch, rendered on its device under the batch's own layout; texts stay with them."""
        rotation = batch.world_from_rig
        views = render_views(
            batch.erp, batch.layout, self.view_size, world_from_rig=rotation, antialias=self.antialias
        )
        return PanoBatch(views.pixels, rotation, batch.names, batch.layout, batch.text)
