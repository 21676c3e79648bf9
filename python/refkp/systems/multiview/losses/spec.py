"""Weights and constants of the losses: the `loss:` section of a configuration. Source: spec multiview g."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

from refkp._checks import fail


@dataclass(frozen=True)
class LossSpec:
    """What each term weighs; 0 leaves it out. Terms are of order one when training begins.

    Args:
        keypoints: of joints in the pictures, squared distance in tenths of the picture's side (`huber`).
        places: of joints where each picture by itself seems to show them, as `keypoints`.
        points: of joints in space, squared error of a coordinate in tenths of an animal's length.
        root_rotation: of the root against a known one, Frobenius norm.
        rotations: of the other joints likewise.
        betas: of known shapes, squared.
        focal: of the logarithms of focal lengths, squared, in tenths.
        camera_rotation: of the angle of cameras against known ones, radians.
        camera_translation: of their translation, squared error of a coordinate in tenths of the distance to the animal.
        joint_angle: of squared angles of joints, radians^2.
        joint_limit: of squared angles beyond the limits of a body that has them.
        limb_scale, limb_offset: of squared scales and offsets of joints.
        shape_prior: of squared shapes.
        triangulation: of points triangulated from labels with the estimated cameras against the estimated joints.
        intermediate: of the corrections before the last: their keypoints, points and rotations, later ones more.
        huber: distance from which on keypoints weigh linearly, in tenths of the side.
        soft_visibility: the visibility of labels weighs; else all that are visible count alike.
        joint_weights: joint -> what it counts in keypoints and points; others 1.
    """

    keypoints: float = 1.0
    places: float = 1.0
    points: float = 1.0
    root_rotation: float = 1.0
    rotations: float = 0.5
    betas: float = 0.05
    focal: float = 0.1
    camera_rotation: float = 1.0
    camera_translation: float = 0.1
    joint_angle: float = 0.001
    joint_limit: float = 0.1
    limb_scale: float = 0.01
    limb_offset: float = 1.0
    shape_prior: float = 0.001
    triangulation: float = 0.0
    intermediate: float = 0.5
    huber: float = 2.0
    soft_visibility: bool = True
    joint_weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in WEIGHTS:
            if not 0 <= getattr(self, name) < float("inf"):
                fail("LossSpec", name, "finite and not negative", getattr(self, name))
        if not self.huber > 0:
            fail("LossSpec", "huber", "above 0", self.huber)
        if min(self.joint_weights.values(), default=0) < 0:
            fail("LossSpec", "joint_weights", "not negative", dict(self.joint_weights))

    def with_weights(self, weights: Mapping[str, float]) -> LossSpec:
        """The same with other weights of some terms.

        Raises:
            ValueError: a name that is no weight.
        """
        unknown = sorted(set(weights) - set(WEIGHTS))
        if unknown:
            fail("LossSpec", "weights", f"of {', '.join(WEIGHTS)}", ", ".join(unknown))
        return replace(self, **weights)  # type: ignore[arg-type]


#: The fields that are weights.
WEIGHTS = tuple(
    each.name for each in fields(LossSpec) if each.name not in ("huber", "soft_visibility", "joint_weights")
)
