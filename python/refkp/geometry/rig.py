"""A rig: the calibrated cameras that look at one scene at the same instant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from refkp._checks import require_shape, require_trailing
from refkp.geometry.cameras import camera_centre, projection_matrix
from refkp.geometry.distortion import (
    DistortedProjection,
    LensDerivative,
    LensPoints,
    before_fold,
    fold_radius,
    lens_derivative,
    project_distorted,
    undistort_pixels,
)


class Rig(NamedTuple):
    """V cameras with OpenCV axes in one world: x_cam = R X + t, then the lens, then K (pixels, edge coordinates)."""

    K: Tensor  # [V,3,3] pixels
    distortion: Tensor  # [V,5], (k1, k2, p1, p2, k3); zeros: a pinhole
    R: Tensor  # [V,3,3], camera from world
    t: Tensor  # [V,3], the unit of the world

    def select(self, views: Sequence[int] | Tensor) -> Rig:
        """The rig of some of the views, in the order given: indices, or a boolean [V]."""
        index = torch.as_tensor(views, device=self.K.device)
        return Rig(*(tensor[index] for tensor in self))

    def to(self, dtype: torch.dtype) -> Rig:
        """The same cameras in another precision."""
        return Rig(*(tensor.to(dtype) for tensor in self))

    def pinholes(self) -> Rig:
        """The same cameras without distortion."""
        return self._replace(distortion=torch.zeros_like(self.distortion))

    def projection_matrices(self) -> Tensor:
        """P = K [R|t] of each view [V,3,4], for pixels without distortion."""
        return projection_matrix(self.K, self.R, self.t)

    def centres(self) -> Tensor:
        """Where the cameras stand in the world [V,3]."""
        return camera_centre(self.R, self.t)

    def project(self, points: Tensor) -> DistortedProjection:
        """What every view sees of world points [...,3]: uv [...,V,2], depth [...,V], valid [...,V]."""
        require_trailing("Rig.project", "points", points, "3")
        seen = project_distorted(points[..., None, None, :], self.K, self.R, self.t, self.distortion)
        return DistortedProjection(seen.uv[..., 0, :], seen.depth[..., 0], seen.valid[..., 0])

    def undistort(self, uv: Tensor) -> LensPoints:
        """Pixels [...,V,2] of every view without its distortion; NaN and invalid where there are none."""
        moved = undistort_pixels(uv[..., None, :], self.K, self.distortion)
        return LensPoints(moved.points[..., 0, :], moved.valid[..., 0])

    def require(self, function: str) -> None:
        """Raise ValueError unless the shapes are those of V cameras."""
        for name, pattern in (("K", "V,3,3"), ("distortion", "V,5"), ("R", "V,3,3"), ("t", "V,3")):
            require_shape(function, f"rig.{name}", getattr(self, name), pattern, V=len(self.K))


class Sight(NamedTuple):
    """World points in the views of a rig, with the derivatives that refinement needs, by components.

    Every tensor is [V,n]: small matrices are slow in large batches.
    """

    u: Tensor
    v: Tensor
    camera: tuple[Tensor, Tensor, Tensor]  # x_cam, y_cam, z_cam
    a: Tensor  # normalised, before the lens
    b: Tensor
    lens: LensDerivative
    u_by_camera: tuple[Tensor, Tensor, Tensor]
    v_by_camera: tuple[Tensor, Tensor, Tensor]

    def in_front(self, fold: Tensor) -> Tensor:
        """Before the camera and inside the fold [V,1] of its lens: bool [V,n]."""
        return (self.camera[2] > 0) & before_fold(self.a, self.b, self.lens, fold)


def sight(rig: Rig, x: Tensor, y: Tensor, z: Tensor) -> Sight:
    """Project world points, each coordinate [n] (or [V,n]), into the V views; no gradient is kept elsewhere."""
    camera = tuple(
        r0[:, None] * x + r1[:, None] * y + r2[:, None] * z + t[:, None]
        for (r0, r1, r2), t in zip(
            (row.unbind(-1) for row in rig.R.unbind(-2)), rig.t.unbind(-1), strict=True
        )
    )
    x_cam, y_cam, z_cam = camera
    a, b = x_cam / z_cam, y_cam / z_cam
    lens = lens_derivative(a, b, rig.distortion[..., None].unbind(-2))
    rows = [tuple(entry[:, None] for entry in row.unbind(-1)) for row in rig.K[:, :2].unbind(-2)]
    pixel = [by_a * lens.a + by_b * lens.b + centre for by_a, by_b, centre in rows]
    derivatives = []
    for by_a, by_b, _ in rows:
        row_a = (by_a * lens.by_aa + by_b * lens.by_ab) / z_cam
        row_b = (by_a * lens.by_ab + by_b * lens.by_bb) / z_cam
        derivatives.append((row_a, row_b, -(a * row_a + b * row_b)))
    return Sight(pixel[0], pixel[1], (x_cam, y_cam, z_cam), a, b, lens, derivatives[0], derivatives[1])


def folds(rig: Rig) -> Tensor:
    """`fold_radius` of every view as a column [V,1]."""
    return fold_radius(rig.distortion)[:, None]
