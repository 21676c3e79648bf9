"""One frame as OBJ: the mesh where it stands in the world."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from refkp._checks import fail
from refkp._files import write_text
from refkp.systems.multiview.body.posing import pose_body
from refkp.systems.multiview.export.clip import Clip

#: Decimals at least, and the share of the size of the animal that rounding may be.
_DECIMALS, _PRECISION = 6, 1e-6


def write_obj(path: Path | str, clip: Clip, frame: int) -> None:
    """Write the vertices and faces of one video frame, in the unit and the axes of the world; faces count from 1.

    Raises:
        ValueError: the clip has no such frame.
    """
    vertices = _frame_vertices(clip, frame)
    extent = float((vertices.max(0) - vertices.min(0)).max())
    decimals = max(_DECIMALS, math.ceil(-math.log10(_PRECISION * extent))) if extent > 0 else _DECIMALS
    lines = [f"v {x:.{decimals}f} {y:.{decimals}f} {z:.{decimals}f}" for x, y, z in vertices.tolist()]
    lines += [f"f {a} {b} {c}" for a, b, c in (clip.body.faces.cpu() + 1).tolist()]
    write_text(path, "\n".join(lines) + "\n")


def _frame_vertices(clip: Clip, frame: int) -> np.ndarray:
    """Vertices float64 [N,3] in the world at one video frame."""
    body, motion = clip.in_double()
    rows = (motion.frames == frame).nonzero()[:, 0]
    if not len(rows):
        rule = f"of the clip, {int(motion.frames[0])} to {int(motion.frames[-1])}"
        fail("write_obj", "frame", rule, frame)
    one = motion._replace(
        frames=motion.frames[rows], rotations=motion.rotations[rows], trans=motion.trans[rows]
    )
    return pose_body(body, one.pose()).vertices[0].numpy()
