"""Motions in the files of others: poses as arrays, OBJ, glTF with animation, BVH, a table of joint angles, cameras.

Everything here can be read back and gives the animal back where it was.
"""

from __future__ import annotations

from refkp.systems.multiview.export.cameras import read_cameras
from refkp.systems.multiview.export.clip import Clip
from refkp.systems.multiview.export.poses import read_motion
from refkp.systems.multiview.export.writing import FORMATS, export

__all__ = ["FORMATS", "Clip", "export", "read_cameras", "read_motion"]
