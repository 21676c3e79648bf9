"""A clip as BVH: the tree of joints with the lengths of this animal, and their angles at each frame.

y points up: the root is turned and moved with the world. Lengths are in the unit of the world. Positions are those that
the joints turn about (`JointParts.centres`). R = Rz Rx Ry, the order of the channels, as most tools expect it.

Source: M. Meredith and S. Maddock, "Motion capture file formats explained", University of Sheffield, 2001.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from refkp._checks import fail
from refkp._files import write_text
from refkp.systems.multiview.export.clip import Clip
from refkp.systems.multiview.export.hierarchy import Hierarchy, hierarchy_of

_TURNS = "Zrotation Xrotation Yrotation"
_PLACES = "Xposition Yposition Zposition"


def write_bvh(path: Path | str, clip: Clip) -> None:
    """Write the joints of a clip.

    Raises:
        ValueError: frames that are not evenly spaced, which BVH cannot tell; names that are equal without spaces.
    """
    tree = hierarchy_of(clip)
    turns = tree.rotations.copy()
    turns[:, 0] = clip.y_up @ turns[:, 0]
    values = np.concatenate((tree.root @ clip.y_up.T, _angles_deg(turns).reshape(len(turns), -1)), axis=1)
    lines = ["HIERARCHY", *_joint_lines(tree, _names(clip), 0, "")]
    lines += ["MOTION", f"Frames: {len(values)}", f"Frame Time: {_frame_time(clip):.9g}"]
    lines += [" ".join(f"{value:.9f}" for value in row) for row in _in_file_order(values, tree).tolist()]
    write_text(path, "\n".join(lines) + "\n")


def _frame_time(clip: Clip) -> float:
    steps = clip.motion.frames.diff().unique().tolist()
    if len(steps) > 1:
        remedy = "Fill the frames between in, e.g. by `refkp.geometry.smoothing.smooth_rotations`."
        fail("write_bvh", "clip", "of frames at equal steps", f"steps of {steps[:8]}", remedy)
    return (steps[0] if steps else 1) / clip.fps


def _names(clip: Clip) -> list[str]:
    """The names of the joints as one word each."""
    names = ["_".join(name.split()) for name in clip.body.joint_names]
    if len(set(names)) < len(names) or "" in names:
        fail("write_bvh", "body.joint_names", "different words, spaces made '_'", names)
    return names


def _joint_lines(tree: Hierarchy, names: list[str], joint: int, indent: str) -> list[str]:
    """A joint and all that hangs on it; the end of a leaf is the joint itself, as nobody knows how far it reaches."""
    inner = indent + "\t"
    title = f"JOINT {names[joint]}" if joint else f"ROOT {names[joint]}"
    channels = f"CHANNELS 3 {_TURNS}" if joint else f"CHANNELS 6 {_PLACES} {_TURNS}"
    lines = [
        f"{indent}{title}",
        f"{indent}{{",
        f"{inner}OFFSET {_text(tree.offsets[joint])}",
        f"{inner}{channels}",
    ]
    for child in tree.children(joint):
        lines += _joint_lines(tree, names, child, inner)
    if not tree.children(joint):
        lines += [f"{inner}End Site", f"{inner}{{", f"{inner}\tOFFSET {_text(np.zeros(3))}", f"{inner}}}"]
    return [*lines, f"{indent}}}"]


def _in_file_order(values: np.ndarray, tree: Hierarchy) -> np.ndarray:
    """The columns as the hierarchy names the joints: every branch to its end."""
    order, waiting = [], [0]
    while waiting:
        joint = waiting.pop()
        order.append(joint)
        waiting += reversed(tree.children(joint))
    columns = [0, 1, 2, *(3 + 3 * joint + axis for joint in order for axis in range(3))]
    return values[:, columns]


def _text(place: np.ndarray) -> str:
    return " ".join(f"{value:.9g}" for value in place.tolist())


def _angles_deg(rotations: np.ndarray) -> np.ndarray:
    """Angles z, x, y [F,J,3] with R = Rz Rx Ry, each frame's those nearest to the last one's.

    z comes first, then x and y from Rz^T R: so the product is R also where x is at 90 degrees and z is any.
    """
    z = np.arctan2(-rotations[..., 0, 1], rotations[..., 1, 1])
    cos, sin = np.cos(z), np.sin(z)
    row_0 = cos[..., None] * rotations[..., 0, :] + sin[..., None] * rotations[..., 1, :]
    column_1 = -sin * rotations[..., 0, 1] + cos * rotations[..., 1, 1]
    x = np.arctan2(rotations[..., 2, 1], column_1)
    y = np.arctan2(row_0[..., 2], row_0[..., 0])
    angles = np.stack((z, x, y), axis=-1)
    for frame in range(1, len(angles)):
        angles[frame] = _nearest(angles[frame], angles[frame - 1])
    return np.degrees(angles)


def _nearest(angles: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Of all ways to write the same rotations, those [J,3] nearest to the last.

    They differ by whole turns, and (z, x, y) are (z + pi, pi - x, y + pi).
    """
    ways = np.stack((angles, angles * (1, -1, 1) + np.pi))
    ways -= 2 * np.pi * np.round((ways - last) / (2 * np.pi))
    far = np.abs(ways - last).sum(-1)
    return np.where((far[1] < far[0])[:, None], ways[1], ways[0])
