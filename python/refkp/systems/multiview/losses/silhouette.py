"""A silhouette with gradients to the vertices, and its loss. Source: spec multiview g."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from refkp._checks import require_trailing
from refkp.nn.ranks import Mean

#: Faces add nothing to a pixel where their probability is below this.
_LEAST_PROBABILITY = 1e-4
#: Pairs of a pixel and a face that are held at once.
_MOST_PAIRS = 2**22


def soft_silhouette(
    vertices: Tensor, faces: Tensor, image_size: tuple[int, int], *, sigma: float = 1e-4
) -> Tensor:
    """The chance of every pixel to be covered: 1 - prod over faces of (1 - sigmoid(-d / sigma)).

    d is the squared distance of the pixel's centre from the triangle's outline, negative inside; faces farther than
    ln(1/1e-4 - 1) sigma add nothing. All faces count, from either side.

    Args:
        vertices: [B,N,2 or more], x and y in NDC: +x left, +y up, half of the shorter side is 1.
        faces: int64 [F,3].
        image_size: (height, width) in pixels.
        sigma: softness of the outline, in NDC squared.

    Returns:
        [B,H,W] in [0,1]. Gradients reach x and y of the vertices. Time and memory grow with pixels times faces.
    """
    require_trailing("soft_silhouette", "faces", faces, "F,3")
    corners = vertices[:, faces, :2]  # [B,F,3,2]
    pixels = _pixel_centres(image_size).to(vertices)
    rows = max(1, _MOST_PAIRS // max(1, len(faces) * len(vertices)))
    parts = [_covered(part, corners, sigma) for part in pixels.split(rows)]
    return torch.cat(parts, dim=1).unflatten(1, image_size)


def silhouette_loss(alpha: Tensor, mask: Tensor) -> Mean:
    """Mean |alpha - mask|, both [B,H,W] in [0,1]."""
    return Mean.over((alpha - mask).abs())


def _pixel_centres(image_size: tuple[int, int]) -> Tensor:
    """NDC [H*W,2] of the centres, row by row."""
    height, width = image_size
    half = min(image_size) / 2
    y = (height / 2 - (torch.arange(height, dtype=torch.float64) + 0.5)) / half
    x = (width / 2 - (torch.arange(width, dtype=torch.float64) + 0.5)) / half
    return torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1).flatten(0, 1)


def _covered(pixels: Tensor, corners: Tensor, sigma: float) -> Tensor:
    """[B,P] of pixels [P,2] and triangles [B,F,3,2]."""
    start, end = corners[:, None], corners.roll(-1, 2)[:, None]  # [B,1,F,3,2]
    edge, away = end - start, pixels[:, None, None] - start
    along = ((away * edge).sum(-1) / edge.square().sum(-1).clamp(min=1e-12)).clamp(0, 1)
    squared = (away - along[..., None] * edge).square().sum(-1).amin(-1)  # [B,P,F]
    side = edge[..., 0] * away[..., 1] - edge[..., 1] * away[..., 0]
    inside = (side > 0).all(-1) | (side < 0).all(-1)
    distance = torch.where(inside, -squared, squared)
    reach = math.log(1 / _LEAST_PROBABILITY - 1) * sigma
    outside = torch.nn.functional.logsigmoid(distance / sigma)
    return 1 - torch.where(distance < reach, outside, 0.0).sum(-1).exp()
