"""From panoramas in any form to the views a model reads: one path, one typed result.

Source: spec panorama 2.6 and 5 (augmentation).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from refkp._checks import fail
from refkp.nn.pixels import PixelStatistics
from refkp.systems.panorama.views.augmentation import Augmentation, draw_rig_rotations
from refkp.systems.panorama.views.crops import crop_layout
from refkp.systems.panorama.views.images import PanoramaInput, as_erp, stack_panoramas
from refkp.systems.panorama.views.layout import ErpLayout
from refkp.systems.panorama.views.rendering import Antialias, ViewSet, render_views
from refkp.systems.panorama.views.spec import CropSpec, LayoutSpec


@dataclass(frozen=True)
class PanoramaImageProcessor:
    """Panoramas to views under one layout.

    It holds no state: the layout of the views, the rotation drawn and the statistics applied come with the
    `ViewSet`.

    Args:
        views: which views: a tile layout, or one of the crop strategies.
        size: side of the views in pixels.
        statistics: of the encoder that will read the views, e.g. `pixels.SIGLIP`, or the name "imagenet",
            "clip" or "siglip"; None leaves them in [0,1], which is what refkp's own encoders take.
        erp_height: rows to which every panorama is resized first; None keeps them, and panoramas of one batch
            must then have one size.
        antialias: of the tiles, as in `ops.e2p`.
        augmentation: random rotation of all tiles of a panorama: "none", "yaw" or "full". Crop strategies
            with crops take "yaw" at most.
        backend: as in `ops.e2p`.

    >>> views = PanoramaImageProcessor(size=32, statistics="siglip")(torch.zeros(3, 64, 128))
    >>> tuple(views.pixels.shape), views.layout.num_views, float(views.pixels.max())
    ((1, 9, 3, 32, 32), 9, -1.0)
    """

    views: LayoutSpec | CropSpec = field(default_factory=LayoutSpec)
    size: int = 224
    statistics: PixelStatistics | str | None = None
    erp_height: int | None = None
    antialias: Antialias = "mip"
    augmentation: Augmentation = "none"
    backend: str | None = None

    def __post_init__(self) -> None:
        if self.size < 1:
            fail("PanoramaImageProcessor", "size", "at least 1", self.size)
        if isinstance(self.statistics, str):
            object.__setattr__(self, "statistics", PixelStatistics.named(self.statistics))

    def layout(self, erp_height: int) -> ErpLayout:
        """The layout for panoramas of `erp_height` rows; only crop strategies depend on it."""
        if isinstance(self.views, CropSpec):
            return crop_layout(self.views, (erp_height, 2 * erp_height), self.size)
        return ErpLayout.build(self.views)

    def __call__(
        self,
        panoramas: PanoramaInput | Sequence[PanoramaInput],
        *,
        generator: torch.Generator | None = None,
    ) -> ViewSet:
        """The views of one panorama (B = 1) or of a list of them.

        Args:
            panoramas: what `images.as_erp` reads, a list of that, or a tensor [B,3,H,2H].
            generator: of the random rotations.

        Raises:
            TypeError, ValueError: as in `images.as_erp`; no panorama; panoramas of several sizes.
        """
        erp = self._batch(panoramas)
        turn = None
        if self.augmentation != "none":
            turn = draw_rig_rotations(self.augmentation, len(erp), generator=generator).to(erp.device)
        views = render_views(
            erp,
            self.layout(erp.shape[2]),
            self.size,
            world_from_rig=turn,
            antialias=self.antialias,
            backend=self.backend,
        )
        if self.statistics is None:
            return views
        assert isinstance(self.statistics, PixelStatistics)  # names were looked up on construction
        return views.normalised(self.statistics)

    def _batch(self, panoramas: PanoramaInput | Sequence[PanoramaInput]) -> Tensor:
        images = [as_erp(panorama, self.erp_height) for panorama in _listed(panoramas)]
        if not images:
            fail("PanoramaImageProcessor", "panoramas", "at least one panorama", "none")
        sizes = sorted({(image.shape[1], image.shape[2]) for image in images})
        if len(sizes) > 1:
            remedy = "Give `erp_height`, or call it once per size."
            fail("PanoramaImageProcessor", "panoramas", "of one size", sizes, remedy)
        return stack_panoramas(images)


def _listed(panoramas: PanoramaInput | Sequence[PanoramaInput]) -> Sequence[PanoramaInput]:
    if isinstance(panoramas, Tensor):
        return panoramas.unbind() if panoramas.dim() == 4 else [panoramas]
    return panoramas if isinstance(panoramas, (list, tuple)) else [panoramas]  # type: ignore[list-item]
