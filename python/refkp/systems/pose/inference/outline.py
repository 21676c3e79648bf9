"""Whether the outline of the object at a pose is that of the mask."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from refkp.geometry.cameras import project, unproject
from refkp.systems.pose.crops import box_mask, mask_box
from refkp.systems.pose.inference.bank import TemplateBank
from refkp.systems.pose.inference.lifting import has_depth
from refkp.systems.pose.templates.selection import view_angles_deg

#: Templates whose surfaces stand for the object: what one of them hides, another shows.
_NUM_TEMPLATES = 4
#: Side of a cell over the distance of neighbouring points, so that no cell within the object is left empty.
_CELL = 1.5
#: Share of its box from which on a mask is taken for a box that somebody gave.
_BOX = 0.99


class Outline(NamedTuple):
    """How the object at a pose covers a mask, both in [0,1] and near 1 for a pose that is right."""

    inside: float  # share of the mask that the object covers
    filled: float  # share of the object that the mask covers; what hides the object takes its part away

    @property
    def iou(self) -> float:
        """Intersection over union."""
        either = 1 / self.inside + 1 / self.filled - 1 if self.inside * self.filled > 0 else math.inf
        return 1 / either


def outline_match(bank: TemplateBank, cam_from_obj: Tensor, K: Tensor, mask: Tensor) -> Outline:
    """Compare the mask of a crop with the outline of the object, from the surfaces of the templates nearest by.

    The surfaces are points, so both are compared in cells as wide as the points lie apart in the crop. A mask that
    fills its box tells the box alone: it is compared with the box around the outline.

    Args:
        bank: the templates of the object.
        cam_from_obj: [4,4], the pose.
        K: [3,3], of the crop.
        mask: [H,W] bool, the visible object.

    Returns:
        Outline; what lies beyond the crop counts as not in the mask.
    """
    pose, K = cam_from_obj.double(), K.double()
    surface = _surface(bank, pose, K)
    projected, depth = project(surface.points, K, pose[:3, :3], pose[:3, 3])
    uv = projected[(depth > 0) & projected.isfinite().all(-1)]
    if len(uv) == 0:
        return Outline(0.0, 0.0)
    side = max(1, math.ceil(_CELL * surface.spacing_px))
    wanted, shown = _mask_cells(mask, side), _point_cells(uv, mask, side)
    if float(mask.double().sum()) >= _BOX * _filled(mask).sum():
        shown = _filled(shown)
    common = int((wanted & shown).sum())
    return Outline(common / max(int(wanted.sum()), 1), common / int(shown.sum()))


class _Surface(NamedTuple):
    points: Tensor  # float64 [n,3], millimetres in the object's frame
    spacing_px: float  # about the distance of neighbours in the crop


def _surface(bank: TemplateBank, pose: Tensor, K: Tensor) -> _Surface:
    """What the templates that look from nearest to where the pose does show of the object."""
    angles = view_angles_deg(pose[None, :3, :3], bank.cam_from_obj[:, :3, :3])[0]
    nearest = angles.argsort()[:_NUM_TEMPLATES]
    depth, K_t, view = bank.depth[nearest].double(), bank.K[nearest], bank.cam_from_obj[nearest]
    seen = has_depth(depth)
    if not bool(seen.any()):
        return _Surface(torch.empty(0, 3, dtype=torch.float64), 1.0)
    row, column = torch.meshgrid(*(torch.arange(length) + 0.5 for length in depth.shape[1:]), indexing="ij")
    uv, (R, t) = (
        torch.stack((column, row), -1).double(),
        (view[:, None, None, :3, :3], view[:, None, None, :3, 3]),
    )
    points = unproject(uv, depth, K_t[:, None, None], R, t)[seen]
    away = (points @ pose[2, :3] + pose[2, 3]).median()
    per_mm = (K_t[:, :1, 0, None] / depth)[seen].median()
    return _Surface(points, float(K[0, 0] / away.clamp(min=1.0) / per_mm))


def _mask_cells(mask: Tensor, side: int) -> Tensor:
    """bool [3r,3c]: the cells at least half of whose pixels are in the mask; the crop is in the middle."""
    height, width = mask.shape
    rows, columns = -(-height // side), -(-width // side)
    padded = functional.pad(mask.double(), (0, columns * side - width, 0, rows * side - height))
    cells = functional.avg_pool2d(padded[None], side)[0] >= 0.5
    return functional.pad(cells, (columns, columns, rows, rows))


def _point_cells(uv: Tensor, mask: Tensor, side: int) -> Tensor:
    """bool [3r,3c]: the cells with points; points farther off are at the border."""
    rows, columns = (-(-length // side) for length in mask.shape)
    cell = (uv / side).floor() + torch.tensor([columns, rows])
    x, y = cell[:, 0].clamp(0, 3 * columns - 1).long(), cell[:, 1].clamp(0, 3 * rows - 1).long()
    shown = torch.zeros(3 * rows, 3 * columns, dtype=torch.bool)
    shown[y, x] = True
    return shown


def _filled(mask: Tensor) -> Tensor:
    """The box around a mask, as a mask."""
    return box_mask(mask_box(mask), (mask.shape[0], mask.shape[1]))
