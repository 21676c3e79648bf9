"""Where patches and their pixels lie in a picture, under either convention of pixel centres."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from refkp._checks import require_choice


@dataclass(frozen=True)
class PatchGrid:
    """A grid of square patches; patch n = row * columns + column.

    With `pixel_offset` 0.5, the convention of this package, pixel (row i, column j) has the image point
    (j + 0.5, i + 0.5) and the centre of a patch is its middle. With 0 the point is (j, i) and the centre is
    that of pixel p // 2, as the published original counts.
    """

    rows: int
    columns: int
    patch_size: int
    pixel_offset: float = 0.5

    def __post_init__(self) -> None:
        require_choice("PatchGrid", "pixel_offset", self.pixel_offset, (0.0, 0.5))

    @property
    def num_patches(self) -> int:
        """Patches in the grid, N."""
        return self.rows * self.columns

    def centres(self, patch: Tensor) -> Tensor:
        """The image points (x, y) [...,2] float32 at the centres of patches [...] int64."""
        p = self.patch_size
        middle = p // 2 if self.pixel_offset == 0 else p / 2
        return self._corners(patch) + middle

    def pixels(self, patch: Tensor, row: Tensor, column: Tensor) -> Tensor:
        """The image points (x, y) [...,2] float32 of the pixels (row, column) inside patches, all [...] int64."""
        return self._corners(patch) + torch.stack((column, row), dim=-1) + self.pixel_offset

    def centre_pixels(self, image: Tensor) -> Tensor:
        """The values [...,N] of a picture [...,rows*p,columns*p] at pixel (p // 2, p // 2) of every patch."""
        p = self.patch_size
        return image[..., p // 2 :: p, p // 2 :: p][..., : self.rows, : self.columns].flatten(-2)

    def sums(self, image: Tensor) -> Tensor:
        """The sums [N] over the patches of a picture [rows*p,columns*p]."""
        p = self.patch_size
        patches = image[: self.rows * p, : self.columns * p].unflatten(1, (-1, p)).unflatten(0, (-1, p))
        return patches.sum((1, 3)).flatten()

    def _corners(self, patch: Tensor) -> Tensor:
        row, column = patch // self.columns, patch % self.columns
        return torch.stack((column, row), dim=-1).to(torch.float32) * self.patch_size
