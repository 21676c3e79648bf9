"""Where tokens look on the sphere, and the position codes made of it.

Source: spec panorama 6 (PanoRoPE and its correct version, additive codes).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from refkp._checks import fail, require_shape
from refkp.geometry import sphere
from refkp.systems.panorama.views.layout import ErpLayout, ViewRecord

_NO_WIDTH = 1e-9  # of a view's side; what a box shares with a border that it touches


def token_directions(layout: ErpLayout, boxes: Tensor, world_from_rig: Tensor | None = None) -> Tensor:
    """Unit directions in the panorama's frame of the centres of token boxes in every view.

    In a tile the direction is world_from_rig R_view (t, s, 1). The other views show a rectangle of the panorama's
    longitudes and latitudes: there it is that under the centre of what the box shares with the view's letterbox.
    The global view is never turned.

    Args:
        layout: the views.
        boxes: [S,4] (left, top, right, bottom) in [0,1], the same in every view.
        world_from_rig: [B,3,3], the rotation of all views of a sample but the global one; None: identity.

    Returns:
        float64 [V,S,3], or [B,V,S,3] with `world_from_rig`, on its device.
    """
    require_shape("token_directions", "boxes", boxes, "S,4")
    boxes = boxes.to("cpu", torch.float64)
    x, y = ((boxes[:, :2] + boxes[:, 2:]) / 2).unbind(-1)
    ray = torch.stack((2 * x - 1, 1 - 2 * y), -1) * layout.half_tangents[:, None]
    ray = torch.cat((ray, torch.ones_like(ray[..., :1])), -1)
    tiles = nn.functional.normalize(ray @ layout.rotations.mT, dim=-1)
    directions = torch.cat((*(_flat_directions(view, boxes)[None] for view in flat_views(layout)), tiles))
    if world_from_rig is None:
        return directions
    require_shape("token_directions", "world_from_rig", world_from_rig, "B,3,3")
    directions = directions.to(world_from_rig.device)
    turned = torch.einsum("bij,vsj->bvsi", world_from_rig.double(), directions)
    if layout.has_global_view:
        turned[:, 0] = directions[0]
    return turned


def flat_views(layout: ErpLayout) -> tuple[ViewRecord, ...]:
    """The views that show a rectangle of the panorama's longitudes and latitudes; they come before the tiles."""
    return tuple(view for view in layout.views if view.kind != "tile")


def _flat_directions(view: ViewRecord, boxes: Tensor) -> Tensor:
    """Directions [S,3] of boxes in a rectangle of the panorama; padding counts as its nearest border."""
    left, top, right, bottom = view.letterbox
    low, size = boxes.new_tensor((left, top)), boxes.new_tensor((right - left, bottom - top))
    corners = ((boxes.unflatten(-1, (2, 2)) - low) / size).clamp(0, 1)
    x, y = corners.mean(-2).unbind(-1)
    lon, lat = view.yaw_deg + (x - 0.5) * view.hfov_deg, view.pitch_deg + (0.5 - y) * view.vfov_deg
    return sphere.direction_from_lonlat(torch.deg2rad(lon), torch.deg2rad(lat))


def sees_picture(view: ViewRecord, boxes: Tensor) -> Tensor:
    """Whether each box [S,4] shares an area with the letterbox of a view; bool [S]. The rest is padding."""
    letterbox = boxes.new_tensor(view.letterbox)
    shared = torch.minimum(boxes[:, 2:], letterbox[2:]) - torch.maximum(boxes[:, :2], letterbox[:2])
    return (shared > _NO_WIDTH).all(-1)


class SphericalPosition(nn.Module):
    """An additive position code: a linear map of Fourier features of the direction.

    The features of (x, y, z) are sin and cos of 2^k pi/2 x, and of y and z, for k < num_frequencies, and x, y, z
    themselves. They are continuous over the whole sphere, without a seam and without poles.
    """

    def __init__(self, dim: int, num_frequencies: int) -> None:
        super().__init__()
        self.num_frequencies = num_frequencies
        self.linear = nn.Linear(3 + 6 * num_frequencies, dim, bias=False)

    def forward(self, directions: Tensor) -> Tensor:
        """Codes [...,dim] of unit directions [...,3]."""
        return self.linear(fourier_features(directions, self.num_frequencies).to(self.linear.weight.dtype))


def fourier_features(directions: Tensor, num_frequencies: int) -> Tensor:
    """x, y, z and their sines and cosines at frequencies 2^k pi/2; [...,3] -> [...,3 + 6 num_frequencies]."""
    frequency = math.pi / 2 * 2.0 ** torch.arange(num_frequencies, device=directions.device)
    phase = (directions[..., None] * frequency.to(directions.dtype)).flatten(-2)
    return torch.cat((directions, phase.sin(), phase.cos()), -1)


def panorope_ids(num_views: int, grid: tuple[int, int], overlap: float, *, wrap: bool = True) -> Tensor:
    """The original's position ids of rotary codes: (view, row, column along the ring of views).

    The column is round(v (1 - overlap) Gw + c) in float32, half to even, with `wrap` after a float fmod by
    V (1 - overlap) Gw. Tokens of overlapping views agree only in this model of linear columns;
    `spherical_rope_ids` are the true ones.

    Args:
        num_views: V, the views of one ring.
        grid: tokens (rows, columns) of a view.
        overlap: part of a view that its neighbour repeats, in [0,1).
        wrap: close the ring.

    Returns:
        int64 [3,V*Gh*Gw], tokens ordered by view, row, column.
    """
    if not 0 <= overlap < 1:
        fail("panorope_ids", "overlap", "in [0,1)", overlap)
    height, width = grid
    view, row, column = torch.meshgrid(
        *(torch.arange(size) for size in (num_views, height, width)), indexing="ij"
    )
    along = view.float() * (1 - overlap) * width + column.float()  # in this order: ties depend on it
    if wrap:
        along = along.fmod(num_views * (1 - overlap) * width)
    return torch.stack((view, row, along.round().long())).flatten(1)


def spherical_rope_ids(directions: Tensor, step_deg: float) -> Tensor:
    """Position ids of rotary codes on the sphere: latitude and longitude in common angular steps.

    Tokens of any two views that look at the same direction get the same ids, and the longitude is a ring of
    round(360 / step_deg) steps: id 0 follows the last one.

    Args:
        directions: [...,3] of any length, e.g. of `token_directions`.
        step_deg: angular step in degrees, in (0,180]; it is rounded so that whole steps fill the circle.

    Returns:
        int64 [2,...]: row from the top pole down, column from longitude -180 degrees to the right.
    """
    if not 0 < step_deg <= 180:
        fail("spherical_rope_ids", "step_deg", "in (0,180]", step_deg)
    columns = round(360 / step_deg)
    step = 2 * math.pi / columns
    lon, lat = sphere.lonlat_from_direction(directions)
    row = ((math.pi / 2 - lat) / step).round()
    column = ((lon + math.pi) / step).round() % columns
    return torch.stack((row, column)).long()
