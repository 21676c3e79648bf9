"""Smoothing over time: what a point or a joint cannot do from one frame to the next is noise.

Both smoothers find the most likely motion of small acceleration, which is what a Kalman filter of constant velocity
with a Rauch-Tung-Striebel pass backwards gives: `smooth_points` in space, `smooth_rotations` on the rotations.
"""

from __future__ import annotations

from refkp.geometry.smoothing.points import smooth_points
from refkp.geometry.smoothing.rotations import smooth_rotations

__all__ = ["smooth_points", "smooth_rotations"]
