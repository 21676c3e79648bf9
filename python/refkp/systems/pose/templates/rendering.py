"""Renders the template views of an object into a store, in parallel over processes.

Source: spec pose 2.1 and 2.4.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from refkp._checks import fail
from refkp._extras import named_extras
from refkp.data.meshes import Mesh
from refkp.data.rendering import MeshRenderer
from refkp.geometry.icosphere import cam_from_obj, icosphere_views
from refkp.systems.pose.templates.store import LINEMOD_K, StoreFormat, new_object, write_view

_SAMPLES = 2  # rays per pixel along either axis for the colours

#: A view to be written: its folder, number, pose and format.
_Task = tuple[Path, int, Tensor, StoreFormat]

_Run = Callable[[list[_Task]], Iterable[int]]


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


def render_templates(
    mesh: Mesh,
    obj_id: int,
    root: str | Path,
    *,
    level: int = 1,
    K: tuple[tuple[float, float, float], ...] = LINEMOD_K,
    size: tuple[int, int] = (480, 640),
    depth_steps_per_mm: float = 10.0,
    workers: int = 1,
    progress: bool = False,
) -> Path:
    """Render all views of an object and add them to a store, whole or not at all.

    The pictures depend on nothing but the arguments, not on `workers`.

    Args:
        mesh: the object; without colours it is grey (see `Mesh.has_colour`).
        obj_id: its number in the store; what the store has under it is replaced.
        root: folder of the store, made if need be.
        level: 0, 1 or 2 for 42, 162 or 642 views.
        K: camera, pixels.
        size: (height, width) of the pictures.
        depth_steps_per_mm: resolution of the stored depth; 10 reaches 6.5 m.
        workers: processes; 1 renders in this one.
        progress: show a bar.

    Returns:
        The folder of the pictures.

    Raises:
        ValueError: a negative `obj_id`, no workers, a store of another format, or a view that shows nothing.
    """
    if obj_id < 0:
        fail("render_templates", "obj_id", "0 or more", obj_id)
    if workers < 1:
        fail("render_templates", "workers", "at least 1", workers)
    form, poses = StoreFormat(1.0, depth_steps_per_mm, K, size), template_poses(mesh, level)
    adding = new_object(
        root, obj_id, poses, diameter=mesh.diameter, distance=camera_distance(mesh), form=form
    )
    with adding as folder, _rendered(mesh, workers) as run:
        done = run([(folder, number, pose, form) for number, pose in enumerate(poses)])
        for _ in _with_bar(done, len(poses)) if progress else done:
            pass
    return Path(root) / f"{obj_id:06d}"


class _Painter:
    """Renders and writes one view; one per process."""

    def __init__(self, mesh: Mesh) -> None:
        self._renderer = MeshRenderer([mesh])

    def __call__(self, task: _Task) -> int:
        folder, number, pose, form = task
        picture = self._renderer.render(pose[None], form.K, form.size, samples=_SAMPLES)
        if not picture.depth.any():
            got = f"nothing in view {number}"
            fail("render_templates", "mesh", "visible from every side", got, "Is the mesh flat?")
        write_view(folder, number, picture.rgb, picture.depth, form)
        return number


_painter: _Painter | None = None  # of a worker process


def _start_worker(mesh: Mesh) -> None:
    global _painter
    torch.set_num_threads(1)
    _painter = _Painter(mesh)


def _paint(task: _Task) -> int:
    if _painter is None:
        raise RuntimeError("render_templates: a worker was given a view before its mesh.")
    return _painter(task)


@contextmanager
def _rendered(mesh: Mesh, workers: int) -> Iterator[_Run]:
    """A function that takes tasks and yields the numbers of the views as they are written."""
    if workers == 1:
        painter = _Painter(mesh)
        yield lambda tasks: map(painter, tasks)
        return
    spawn = multiprocessing.get_context("spawn")  # forking is not safe beside torch's threads
    with ProcessPoolExecutor(workers, spawn, _start_worker, (mesh,)) as pool:
        yield lambda tasks: pool.map(_paint, tasks, chunksize=4)


def _with_bar(done: Iterable[int], total: int) -> Iterable[int]:
    with named_extras():
        from rich.progress import track

    return track(done, "templates", total=total)
