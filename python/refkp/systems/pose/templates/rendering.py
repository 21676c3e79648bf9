"""Renders the template views of an object, in parallel over processes: into memory, or into a store.

Source: spec pose 2.1 and 2.4.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from refkp._checks import fail
from refkp._progress import progress_bar
from refkp.data.meshes import Mesh
from refkp.data.rendering import MeshRenderer, Rendering
from refkp.geometry.icosphere import cam_from_obj, icosphere_views
from refkp.systems.pose.crops import crop_views, mask_box
from refkp.systems.pose.templates.store import (
    LINEMOD_K,
    StoreFormat,
    camera_of_size,
    new_object,
    write_view,
)
from refkp.systems.pose.views import Views

_SAMPLES = 2  # rays per pixel along either axis for the colours

Intrinsics = tuple[tuple[float, float, float], ...]

#: What becomes of a rendered view, in the process that renders it: of its number, pose [4,4] and picture.
_Finish = Callable[[int, NDArray[np.float64], Rendering], Any]


def template_poses(mesh: Mesh, level: int = 1) -> Tensor:
    """Cameras around the middle of an object, at twice the diagonal of its box.

    T = [R | (0,0,d) - R c] with the middle c of the box, so that the poses hold for the mesh as it is.

    Args:
        mesh: the object.
        level: 0, 1 or 2 for 42, 162 or 642 views.

    Returns:
        float64 [n,4,4], object to camera, millimetres, in the order of `icosphere_views`.
    """
    poses = cam_from_obj(icosphere_views(level) * camera_distance(mesh))
    poses[:, :3, 3] -= poses[:, :3, :3] @ torch.from_numpy(mesh.centre)
    return poses


def camera_distance(mesh: Mesh) -> float:
    """Distance of the template cameras from the middle of the box, millimetres: twice its diagonal."""
    return 2 * float((mesh.extent**2).sum() ** 0.5)


def rendered_views(
    mesh: Mesh,
    size: int,
    *,
    level: int = 1,
    K: Intrinsics = LINEMOD_K,
    picture_size: tuple[int, int] = (480, 640),
    workers: int = 1,
    progress: bool = False,
) -> Views:
    """Render all views of an object and crop them, without a file.

    They are what a store gives back of the same pictures, but for the steps of its depth.

    Args:
        mesh: the object; without colours it is grey (see `Mesh.has_colour`).
        size: side of the crops in pixels.
        level: 0, 1 or 2 for 42, 162 or 642 views.
        K: camera, pixels.
        picture_size: (height, width) of the pictures that the crops are cut from.
        workers: processes; 1 renders in this one.
        progress: show a bar.

    Returns:
        Views with the leading axis [n].

    Raises:
        ValueError: no workers, or a view that shows nothing.
    """
    _require_workers("rendered_views", workers)
    poses, crop = template_poses(mesh, level), partial(_crop, K=K, size=size)
    crops = _rendered(mesh, poses, K, picture_size, crop, workers, progress=progress)
    return Views(*(torch.from_numpy(np.stack(parts)) for parts in zip(*crops, strict=True)))


def render_templates(
    mesh: Mesh,
    obj_id: int,
    root: str | Path,
    *,
    level: int = 1,
    K: Intrinsics | None = None,
    size: tuple[int, int] = (480, 640),
    depth_steps_per_mm: float = 10.0,
    workers: int = 1,
    progress: bool = False,
) -> Path:
    """Render all views of an object and add them to a store, whole or not at all.

    The pictures depend on nothing but the arguments, not on `workers`.

    Args:
        mesh, level, workers, progress: as of `rendered_views`.
        obj_id: its number in the store; what the store has under it is replaced.
        root: folder of the store, made if need be.
        K: of their camera; None: that of the published templates, for pictures of `size`.
        size: (height, width) of the pictures.
        depth_steps_per_mm: resolution of the stored depth; 10 reaches 6.5 m.

    Returns:
        The folder of the pictures.

    Raises:
        ValueError: a negative `obj_id`, no workers, a store of another format, or a view that shows nothing.
    """
    if obj_id < 0:
        fail("render_templates", "obj_id", "0 or more", obj_id)
    _require_workers("render_templates", workers)
    K = camera_of_size(size) if K is None else K
    form, poses = StoreFormat(1.0, depth_steps_per_mm, K, size), template_poses(mesh, level)
    with new_object(
        root, obj_id, poses, diameter=mesh.diameter, distance=camera_distance(mesh), form=form
    ) as folder:
        write = partial(_write, folder=folder, form=form)
        for _ in _rendered(mesh, poses, K, size, write, workers, progress=progress):
            pass
    return Path(root) / f"{obj_id:06d}"


def _require_workers(function: str, workers: int) -> None:
    if workers < 1:
        fail(function, "workers", "at least 1", workers)


def _crop(
    number: int, pose: NDArray[np.float64], picture: Rendering, *, K: Intrinsics, size: int
) -> tuple[NDArray[Any], ...]:
    """The fields of `Views` as arrays, which travel between processes by value."""
    depth = torch.from_numpy(picture.depth)
    mask, rgb = depth > 0, torch.from_numpy(picture.rgb).permute(2, 0, 1)
    camera = torch.tensor(K, dtype=torch.float64)
    view = crop_views(rgb, mask, depth, camera, torch.from_numpy(pose), mask_box(mask), size)
    return tuple(tensor.numpy() for tensor in view)


def _write(
    number: int, pose: NDArray[np.float64], picture: Rendering, *, folder: Path, form: StoreFormat
) -> None:
    write_view(folder, number, picture.rgb, picture.depth, form)


class _Painter:
    """Renders views one by one; one per process."""

    def __init__(self, mesh: Mesh, K: Intrinsics, size: tuple[int, int], finish: _Finish) -> None:
        self._renderer, self._K, self._size, self._finish = MeshRenderer([mesh]), K, size, finish

    def __call__(self, view: tuple[int, NDArray[np.float64]]) -> Any:
        number, pose = view
        picture = self._renderer.render(pose[None], self._K, self._size, samples=_SAMPLES)
        if not picture.depth.any():
            got = f"nothing in view {number}"
            fail("render_templates", "mesh", "visible from every side", got, "Is the mesh flat?")
        return self._finish(number, pose, picture)


_painter: _Painter | None = None  # of a worker process


def _start_worker(*options: Any) -> None:
    global _painter
    torch.set_num_threads(1)
    _painter = _Painter(*options)


def _paint(view: tuple[int, NDArray[np.float64]]) -> Any:
    if _painter is None:
        raise RuntimeError("render_templates: a worker was given a view before its mesh.")
    return _painter(view)


def _rendered(
    mesh: Mesh,
    poses: Tensor,
    K: Intrinsics,
    size: tuple[int, int],
    finish: _Finish,
    workers: int,
    *,
    progress: bool,
) -> Iterator[Any]:
    """What `finish` makes of each view, in their order."""
    views = list(enumerate(poses.numpy()))
    with_bar = partial(progress_bar, description="templates", total=len(views)) if progress else iter
    if workers == 1:
        yield from with_bar(map(_Painter(mesh, K, size, finish), views))
        return
    spawn = multiprocessing.get_context("spawn")  # forking is not safe beside torch's threads
    with ProcessPoolExecutor(workers, spawn, _start_worker, (mesh, K, size, finish)) as pool:
        yield from with_bar(pool.map(_paint, views, chunksize=4))
