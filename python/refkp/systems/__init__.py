"""The training systems, each a package of this one: the list that the command line, checks and pages read."""

from __future__ import annotations

from pathlib import Path

#: System -> what it is, in a sentence. One without a package yet has golden values alone.
SYSTEMS = {
    "keypoints": "text tokens of a diffusion model, trained to be keypoints on views of a generated object",
    "multiview": "synchronised 2D keypoints of an animal to one body model and a camera for each view",
    "pose": "the 6D pose of a novel object from templates: patches that match, flow inside them, PnP",
    "panorama": "panoramas in tiles, features that agree on their overlaps, captions in three stages",
}


def built_systems() -> tuple[str, ...]:
    """The systems that have a package.

    >>> {"pose", "panorama"} <= set(built_systems())
    True
    """
    return _with_file("__init__.py")


def trained_systems() -> tuple[str, ...]:
    """The systems that can be trained."""
    return _with_file("commands/train.py")


def _with_file(name: str) -> tuple[str, ...]:
    return tuple(system for system in SYSTEMS if (Path(__file__).with_name(system) / name).is_file())
