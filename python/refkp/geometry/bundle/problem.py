"""What is free in a bundle adjustment, and how a step of the free parameters moves the cameras."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from refkp._checks import fail, require_choice
from refkp.geometry.rig import Rig
from refkp.geometry.rotations import axis_angle_to_matrix

#: Per camera: turn (3), centre (3), logarithm of the focal length (1), k1 (1).
CAMERA_SIZE = 8
FOCAL, RADIAL = 6, 7
SHARING = ("fixed", "shared", "free")


@dataclass(frozen=True)
class BundleSpec:
    """What is free, and the robust cost.

    The first camera keeps its pose and the second its distance from the first: nothing else fixes where the
    world is and how large.

    Args:
        focal: "fixed"; "shared": one factor for all focal lengths; "free": one for each camera.
        radial: the same for k1, which is added to.
        focal_deviation: how far a focal length may be off, as a standard deviation of its logarithm. An animal
            in the middle of the picture tells focal length from distance badly; without this it runs away.
        scale_px: Cauchy's scale; a residual beyond it counts less and less.
        start_px: the threshold at which points are first triangulated; it shrinks to `threshold_px` as the
            cameras improve.
        threshold_px: observations farther off than this are outliers in the end.
        rounds: of triangulation anew.
        iterations: of Levenberg-Marquardt in each round.
    """

    focal: str = "fixed"
    radial: str = "fixed"
    focal_deviation: float = 0.02
    scale_px: float = 2.0
    start_px: float = 100.0
    threshold_px: float = 20.0
    rounds: int = 4
    iterations: int = 100

    def __post_init__(self) -> None:
        require_choice("BundleSpec", "focal", self.focal, SHARING)
        require_choice("BundleSpec", "radial", self.radial, SHARING)
        for name in ("focal_deviation", "scale_px", "start_px", "threshold_px", "rounds", "iterations"):
            if not getattr(self, name) > 0:
                fail("BundleSpec", name, "above 0", getattr(self, name))


def focal_prior(rig: Rig, start: Rig, spec: BundleSpec) -> tuple[Tensor, Tensor, Tensor]:
    """sum_v (log f/f_0)^2 / deviation^2 in pixels^2: diagonal [8V] and gradient [8V] of half of it, and the sum."""
    diagonal = rig.K.new_zeros(len(rig.K), CAMERA_SIZE)
    diagonal[:, FOCAL] = spec.focal_deviation**-2
    gradient = diagonal * (rig.K[:, 0, 0] / start.K[:, 0, 0]).log()[:, None]
    cost = (gradient.square() / diagonal.clamp(min=1e-300)).sum()
    return diagonal.flatten(), gradient.flatten(), cost


def free_directions(rig: Rig, spec: BundleSpec) -> Tensor:
    """The free parameters as columns of camera steps [8V,m]: what is fixed has none, what is shared has one.

    The centre of the second camera moves at a right angle to the baseline.
    """
    num_views = len(rig.K)
    steps = torch.eye(num_views * CAMERA_SIZE, dtype=rig.K.dtype, device=rig.K.device)
    steps = steps.unflatten(0, (num_views, CAMERA_SIZE))
    columns = [steps[view, parameter] for view in range(1, num_views) for parameter in range(3)]
    columns += [steps[view, 3 + axis] for view in range(2, num_views) for axis in range(3)]
    baseline = torch.nn.functional.normalize(rig.centres()[1] - rig.centres()[0], dim=0)
    across = torch.linalg.svd(baseline[None]).Vh[1:]
    columns += [(axis[:, None] * steps[1, 3:6]).sum(0) for axis in across]
    for sharing, parameter in ((spec.focal, FOCAL), (spec.radial, RADIAL)):
        if sharing == "shared":
            columns.append(steps[:, parameter].sum(0))
        elif sharing == "free":
            columns += list(steps[:, parameter])
    return torch.stack(columns, dim=-1)


def move_rig(rig: Rig, step: Tensor) -> Rig:
    """The rig after a step [V,8], R <- exp(w) R, c <- c + d, f <- f e^s, k1 <- k1 + k, and the baseline as long."""
    R = axis_angle_to_matrix(step[:, :3]) @ rig.R
    before = rig.centres()
    centres = before + step[:, 3:6]
    length = (before[1] - before[0]).norm()
    direction = torch.nn.functional.normalize(centres[1] - centres[0], dim=0)
    centres = torch.cat((centres[:1], (centres[0] + length * direction)[None], centres[2:]))
    factor = torch.ones_like(rig.K)
    factor[:, :2, :2] = step[:, FOCAL].exp()[:, None, None]
    distortion = torch.cat((rig.distortion[:, :1] + step[:, RADIAL, None], rig.distortion[:, 1:]), dim=-1)
    return Rig(rig.K * factor, distortion, R, -(R @ centres[..., None])[..., 0])
