"""Rendered views kept in a file beside the mesh, so that the next run on the same object starts at once.

    FOLDER/.refkp_templates/KEY.npz     images uint8 [n,3,S,S], depth float32 [n,S,S], K and cam_from_obj float64

The key is the hash of all that the pictures follow from: the mesh with its textures as they were read, the options
of the rendering, and `_VERSION`. So a file never stands for other pictures, and may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from refkp._files import whole_file
from refkp.data.meshes import Mesh
from refkp.systems.pose.templates.rendering import SAMPLES, rendered_views
from refkp.systems.pose.views import Views

_VERSION = 1  # of the pictures: raise it when the same mesh and options give others
_FOLDER = ".refkp_templates"
_ARRAYS = ("images", "depth", "K", "cam_from_obj")
_DAMAGE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


def cached_views(mesh: Mesh, size: int, folder: Path | str, *, level: int = 1, **options: Any) -> Views:
    """The views of `rendered_views`, bit for bit, from a file in `folder` if it is there.

    A file that is damaged is rendered anew, and one that cannot be written is left out; either is a warning.

    Args:
        mesh, size, level: of `rendered_views`.
        folder: where the mesh lies.
        options: workers and progress of `rendered_views`, which change no picture.
    """
    path = cache_file(mesh, size, folder, level=level)
    if path.is_file():
        try:
            return _read(path, size)
        except _DAMAGE as error:
            warnings.warn(
                f"cached_views: {str(path)!r} is damaged ({error}); its views are rendered anew.",
                stacklevel=2,
            )
    views = rendered_views(mesh, size, level=level, **options)
    try:
        _write(path, views)
    except OSError as error:
        warnings.warn(
            f"cached_views: the rendered views are not kept for the next run: cannot write {str(path)!r}: {error}.",
            stacklevel=2,
        )
    return views


def cache_file(mesh: Mesh, size: int, folder: Path | str, *, level: int = 1) -> Path:
    """Where the views of a mesh are kept."""
    return Path(folder) / _FOLDER / f"{_key(mesh, {'size': size, 'level': level})}.npz"


def _key(mesh: Mesh, options: dict[str, int]) -> str:
    arrays = (mesh.vertices, mesh.faces, mesh.uv, mesh.face_texture, mesh.vertex_colours, *mesh.textures)
    kinds = [None if part is None else [part.dtype.str, part.shape] for part in arrays]
    told = {"version": _VERSION, "samples": SAMPLES, **options, "arrays": kinds, "mesh": mesh.digest}
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _write(path: Path, views: Views) -> None:
    images = (255 * views.images).round().to(torch.uint8)  # what they were made of
    parts = (images, views.depth, views.K, views.cam_from_obj)
    arrays: dict[str, Any] = {name: part.numpy() for name, part in zip(_ARRAYS, parts, strict=True)}
    with whole_file(path) as unfinished:
        np.savez_compressed(unfinished, **arrays)


def _read(path: Path, size: int) -> Views:
    with zipfile.ZipFile(path):  # whatever else `np.load` would read is none of ours
        pass
    with np.load(path, allow_pickle=False) as file:
        images, depth, K, cam_from_obj = (torch.from_numpy(file[name]) for name in _ARRAYS)
    if images.shape[1:] != (3, size, size) or depth.shape != (len(images), size, size):
        raise ValueError(f"it holds pictures of another shape, {list(images.shape)}")
    return Views(images.float() / 255, depth > 0, depth, K, cam_from_obj)
