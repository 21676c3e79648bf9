"""Renders the template views of an object, in parallel over threads: into memory, or into a store.

Views for a network are rendered at its own size: a store's picture is looked at only for the box of the object in
it, from which the camera of the crop follows. Embree holds Python's lock while it casts rays, a third of the work
at most; the rest is numpy and picture encoding, which do not, so threads share one scene and start at once.

Source: spec pose 2.1 and 2.4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NoReturn, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from refkp._checks import fail
from refkp._progress import progress_bar
from refkp.data.meshes import Mesh
from refkp.data.rendering import MeshRenderer
from refkp.geometry.icosphere import cam_from_obj, icosphere_views
from refkp.systems.pose.crops import Box, square_crop
from refkp.systems.pose.templates.store import (
    LINEMOD_K,
    StoreFormat,
    camera_of_size,
    new_object,
    write_view,
)
from refkp.systems.pose.views import Views

SAMPLES = 2  # rays per pixel along either axis for the colours

Intrinsics = tuple[tuple[float, float, float], ...]
Array = NDArray[np.float64]
Result = TypeVar("Result")


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
    """Render all views of an object at the size of crops, without a file.

    Box and camera are those of the crops of a store whose pictures have `K` and `picture_size`. Colours are means
    over the pixels of the crop, depth and mask hold at their centres, which a store tells to half a pixel of its
    own.

    Args:
        mesh: the object; without colours it is grey (see `Mesh.has_colour`).
        size: side of the crops in pixels.
        level: 0, 1 or 2 for 42, 162 or 642 views.
        K: camera of the pictures that are not rendered, pixels.
        picture_size: (height, width) of these.
        workers: threads. They change nothing but the time.
        progress: show a bar.

    Returns:
        Views with the leading axis [n].

    Raises:
        ValueError: no workers, or a view that shows nothing.
    """
    _require_workers("rendered_views", workers)
    renderer, vertices = MeshRenderer([mesh]), mesh.vertices[np.unique(mesh.faces)]
    camera, poses = np.array(K, np.float64), template_poses(mesh, level)

    def view(number: int, pose: Array) -> Views:
        box = shown_box(renderer, vertices, pose, camera, picture_size)
        if box is None:
            _fail_empty("rendered_views", number)
        return _crop(renderer, pose, camera, box, size)

    views = _in_threads(view, poses, workers, progress=progress)
    return Views(*(torch.stack(parts) for parts in zip(*views, strict=True)))


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
        obj_id: its number in the store; pictures of the same mesh are replaced, those of another one never.
        root: folder of the store, made if need be.
        K: of their camera; None: that of the published templates, for pictures of `size`.
        size: (height, width) of the pictures.
        depth_steps_per_mm: resolution of the stored depth; 10 reaches 6.5 m.

    Returns:
        The folder of the pictures.

    Raises:
        ValueError: a negative `obj_id`, no workers, a store of another format or with another mesh under this number,
            or a view that shows nothing.
    """
    if obj_id < 0:
        fail("render_templates", "obj_id", "0 or more", obj_id)
    _require_workers("render_templates", workers)
    K = camera_of_size(size) if K is None else K
    form, poses = StoreFormat(1.0, depth_steps_per_mm, K, size), template_poses(mesh, level)
    with new_object(
        root,
        obj_id,
        poses,
        digest=mesh.digest,
        diameter=mesh.diameter,
        distance=camera_distance(mesh),
        form=form,
    ) as folder:
        write = partial(_write, MeshRenderer([mesh]), folder=folder, form=form)
        for _ in _in_threads(write, poses, workers, progress=progress):
            pass
    return Path(root) / f"{obj_id:06d}"


def shown_box(
    renderer: MeshRenderer, vertices: Array, pose: Array, K: Array, size: tuple[int, int]
) -> Box | None:
    """The box of the pixels whose centres show a mesh, as `mask_box` gives it; None where there are none.

    The outline of a mesh lies within the box of its corners, so only the few rows and columns next to that are
    looked at.

    Args:
        renderer: of the mesh alone.
        vertices: [V,3] of its faces, all before the camera.
        pose: [4,4], object to camera, millimetres.
        K: [3,3], pixels.
        size: (height, width) of the picture.
    """
    points = (vertices @ pose[:3, :3].T + pose[:3, 3]) @ K.T
    pixels, limits = points[:, :2] / points[:, 2:], size[::-1]
    x0, y0 = np.clip(np.floor(pixels.min(0)), 0, limits).astype(int).tolist()
    x1, y1 = np.clip(np.ceil(pixels.max(0)), 0, limits).astype(int).tolist()

    def shows(x0: int, y0: int, x1: int, y1: int) -> bool:
        window = K - np.array([[0, 0, x0], [0, 0, y0], [0, 0, 0]])
        return bool(renderer.render_depth(pose[None], window, (y1 - y0, x1 - x0)).any())

    while y0 < y1 and x0 < x1 and not shows(x0, y0, x1, y0 + 1):
        y0 += 1
    if y0 == y1 or x0 == x1:
        return None
    while not shows(x0, y1 - 1, x1, y1):
        y1 -= 1
    while not shows(x0, y0, x0 + 1, y1):
        x0 += 1
    while not shows(x1 - 1, y0, x1, y1):
        x1 -= 1
    return x0, y0, x1, y1


def _crop(renderer: MeshRenderer, pose: Array, K: Array, box: Box, size: int) -> Views:
    """What the crop of a box shows, rendered through the camera of the crop."""
    camera = square_crop(box, size).matrix @ torch.from_numpy(K)
    picture = renderer.render(pose[None], camera.numpy(), (size, size), samples=SAMPLES)
    depth, images = torch.from_numpy(picture.depth), torch.from_numpy(picture.rgb).permute(2, 0, 1)
    return Views(images.float() / 255, depth > 0, depth, camera, torch.from_numpy(pose))


def _write(renderer: MeshRenderer, number: int, pose: Array, *, folder: Path, form: StoreFormat) -> None:
    picture = renderer.render(pose[None], form.K, form.size, samples=SAMPLES)
    if not picture.depth.any():
        _fail_empty("render_templates", number)
    write_view(folder, number, picture.rgb, picture.depth, form)


def _fail_empty(function: str, number: int) -> NoReturn:
    fail(function, "mesh", "visible from every side", f"nothing in view {number}", "Is the mesh flat?")


def _require_workers(function: str, workers: int) -> None:
    if workers < 1:
        fail(function, "workers", "at least 1", workers)


def _in_threads(
    work: Callable[[int, Array], Result], poses: Tensor, workers: int, *, progress: bool
) -> Iterator[Result]:
    """What `work` makes of the number and pose of each view, in their order."""
    arguments = (range(len(poses)), poses.numpy())
    with_bar = partial(progress_bar, description="templates", total=len(poses)) if progress else iter
    if workers == 1:
        yield from with_bar(map(work, *arguments))
        return
    with ThreadPoolExecutor(workers) as pool:
        yield from with_bar(pool.map(work, *arguments))
