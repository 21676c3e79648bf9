"""What rendered samples of a body are like."""

from __future__ import annotations

from dataclasses import dataclass

from refkp._checks import fail


@dataclass(frozen=True)
class SampleSpec:
    """Animals in random poses before a ring of cameras that is a little otherwise in each sample.

    Args:
        num_animals: of different shapes; the file has a session of each.
        first_animal: number of the first. With the same seed, other numbers are other animals before the same mean
            rig, such as those to judge by.
        num_poses: samples of an animal.
        num_views: cameras.
        size: side of the pictures in pixels.
        joint_sigma_deg: standard deviation of the rotation of a joint about each axis, within its limits.
        shape_sigma: of each shape.
        size_sigma: of the size of an animal, as a share.
        body_length: of a mean animal at rest, millimetres.
        distance: of the cameras, in lengths of the body.
        rig_sigma_deg: by which a camera is turned against the mean rig, about each axis.
        rig_sigma: by which it stands elsewhere, along each axis, as a share of its distance.
        place_sigma: by which the animal is off the middle, along each axis of the floor, in lengths of the body.
        tilt_sigma_deg: by which the animal is not upright; it faces anywhere.
        noise_px: standard deviation of the labels, along each axis.
    """

    num_animals: int = 150
    first_animal: int = 0
    num_poses: int = 20
    num_views: int = 4
    size: int = 96
    joint_sigma_deg: float = 25.0
    shape_sigma: float = 1.0
    size_sigma: float = 0.08
    body_length: float = 80.0
    distance: float = 2.6
    rig_sigma_deg: float = 4.0
    rig_sigma: float = 0.06
    place_sigma: float = 0.12
    tilt_sigma_deg: float = 5.0
    noise_px: float = 0.0

    def __post_init__(self) -> None:
        limits = {"num_animals": 1, "first_animal": 0, "num_poses": 1, "num_views": 1, "size": 16}
        for name, least in limits.items():
            if getattr(self, name) < least:
                fail("SampleSpec", name, f"at least {least}", getattr(self, name))
        for name in ("body_length", "distance"):
            if not 0 < getattr(self, name) < float("inf"):
                fail("SampleSpec", name, "finite and above 0", getattr(self, name))
        for name in _SIGMAS:
            if not 0 <= getattr(self, name) < float("inf"):
                fail("SampleSpec", name, "finite and not negative", getattr(self, name))


_SIGMAS = (
    *("joint_sigma_deg", "shape_sigma", "size_sigma", "rig_sigma_deg", "rig_sigma", "place_sigma"),
    *("tilt_sigma_deg", "noise_px"),
)
