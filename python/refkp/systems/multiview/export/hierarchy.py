"""A clip as formats of animation have it: a tree of joints that turn, the root that also moves, a mesh at rest."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from refkp.systems.multiview.body.motion import BodyMotion
from refkp.systems.multiview.body.posing import JointsOnly, bone_offsets, shaped_body
from refkp.systems.multiview.export.clip import Clip

#: So many frames are posed at once.
_BLOCK = 512


class Hierarchy(NamedTuple):
    """J joints of an animal of its own shape and size over F frames; float64, unit of the world."""

    parents: tuple[int, ...]
    rest: np.ndarray  # [J,3], joints at rest, where they are bound to the mesh
    offsets: np.ndarray  # [J,3], of a joint in the frame of its parent; zero for the root
    root: np.ndarray  # [F,3], where the point is that the root turns about
    rotations: np.ndarray  # [F,J,3,3], of each joint against its parent; the root's against the world
    vertices: np.ndarray  # [N,3], at rest

    def children(self, joint: int) -> list[int]:
        """The joints that hang on a joint."""
        return [child for child, parent in enumerate(self.parents) if parent == joint]


def hierarchy_of(clip: Clip) -> Hierarchy:
    """The tree of a clip. Shape, size and offsets of joints are in its lengths; nothing is scaled any more."""
    body, motion = clip.in_double()
    size = float(motion.size)
    vertices, rest = shaped_body(body, motion.betas[None], 1)
    offsets = bone_offsets(body, rest, motion.offsets[None])[0]
    offsets[0] = 0
    joints = JointsOnly(body)
    poses = [part.pose() for part in _blocks(motion)]
    root = torch.cat([joints.parts(pose).centres(pose)[:, 0] for pose in poses])
    return Hierarchy(
        body.parents,
        size * rest[0].numpy(),
        size * offsets.numpy(),
        root.numpy(),
        motion.rotations.numpy(),
        size * vertices[0].numpy(),
    )


def _blocks(motion: BodyMotion) -> list[BodyMotion]:
    return [
        motion._replace(
            frames=motion.frames[start : start + _BLOCK],
            rotations=motion.rotations[start : start + _BLOCK],
            trans=motion.trans[start : start + _BLOCK],
        )
        for start in range(0, len(motion.frames), _BLOCK)
    ]
