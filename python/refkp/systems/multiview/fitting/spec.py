"""What a fit believes of an animal before it has seen it."""

from __future__ import annotations

from dataclasses import dataclass

from refkp._checks import fail


@dataclass(frozen=True)
class FitSpec:
    """Standard deviations, and how long to try.

    Args:
        noise_px: of labels; None: from the labels themselves, by how well views agree.
        turn_deg: of the change of a joint's turn from frame to frame, by which it goes on otherwise than before.
        move: the same of the root's movement, in lengths of the body.
        pose_deg: of a joint about rest.
        length: of the logarithm of a bone's length about that of the body.
        size: of the logarithm of the body's size about what the points in space say.
        iterations: steps of the solver, at most, after each sharpening of the robust cost.
    """

    noise_px: float | None = None
    turn_deg: float = 4.0
    move: float = 0.02
    pose_deg: float = 40.0
    length: float = 0.2
    size: float = 0.5
    iterations: int = 30

    def __post_init__(self) -> None:
        for name in ("noise_px", "turn_deg", "move", "pose_deg", "length", "size"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                fail("FitSpec", name, "finite and above 0", value)
        if self.iterations < 1:
            fail("FitSpec", "iterations", "at least 1", self.iterations)
