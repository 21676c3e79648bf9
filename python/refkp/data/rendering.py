"""Pictures, depth and instance ids of posed meshes by casting one ray through each pixel centre.

Every mesh has an embree scene in its own frame, built once. A pose moves the rays, not the mesh. Rays are cast
through the projected box of a mesh alone, and all work is on the window around these boxes. Embree says in
float32 which triangle a ray meets; the depth is then that of the triangle's plane in float64, so it is exact
wherever the ray is not within rounding of an edge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from refkp._checks import fail, shape_text
from refkp.data.meshes import Mesh
from refkp.data.solids import Solid
from refkp.geometry.rotations import LARGEST_ROTATION_ERROR, rotation_error

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Light:
    """Ambient light and one distant lamp: colour * (ambient + diffuse * max(0, n . l)), clipped at white.

    `direction` points from the object to the lamp, in the camera frame; (0,0,-1) shines from the camera.
    """

    ambient: float = 0.4
    diffuse: float = 0.6
    direction: tuple[float, float, float] = (0.0, 0.0, -1.0)
    colour: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        if not np.linalg.norm(self.direction) > 0:
            fail("Light", "direction", "a vector that is not zero", self.direction)


class Rendering(NamedTuple):
    """What a camera sees of posed meshes."""

    rgb: NDArray[np.uint8]  # [H,W,3]
    depth: NDArray[np.float32]  # [H,W], millimetres along z at the pixel centres; 0 where nothing is hit
    instance: NDArray[np.int32]  # [H,W], which of the poses; -1 where nothing is hit
    areas: NDArray[np.int64]  # [n], pixels that each would cover without the others


class _Window(NamedTuple):
    """Whole pixels of a picture: columns left..right and rows top..bottom, the last ones exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.bottom - self.top, self.right - self.left

    @property
    def slices(self) -> tuple[slice, slice]:
        """Its part of a picture [H,W,...]."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def pixels_in(self, window: _Window) -> NDArray[np.int64]:
        """Its pixels, row by row, as numbers of those of a window around it."""
        rows, columns = np.arange(self.top, self.bottom), np.arange(self.left, self.right)
        return ((rows - window.top)[:, None] * window.size[1] + (columns - window.left)).reshape(-1)


class _Shot(NamedTuple):
    """Posed meshes before a camera, and where in its picture they can be."""

    solids: Sequence[Solid]  # n of them
    poses: Array  # [n,4,4]
    K: Array
    boxes: Sequence[_Window]  # around each
    window: _Window  # around all

    def enlarged(self, factor: int) -> _Shot:
        """The same in a picture `factor` times as large."""
        window, *boxes = (_Window(*(factor * edge for edge in box)) for box in (self.window, *self.boxes))
        return _Shot(self.solids, self.poses, self.K * [[factor], [factor], [1]], boxes, window)


class _Hits(NamedTuple):
    """The nearest surface seen through each pixel of a window, row by row."""

    z: Array  # [P], infinite where nothing is hit, or where no depth was asked for
    instance: NDArray[np.int32]  # [P], -1 where nothing is hit
    face: NDArray[np.int32]  # [P]
    uv: NDArray[np.float32]  # [P,2], barycentric weights of the second and third corner
    areas: NDArray[np.int64]  # [n]


class MeshRenderer:
    """Renders meshes under any poses.

    Args:
        meshes: at least one. Building the scenes takes milliseconds per mesh, so keep the renderer.

    >>> from refkp.data.shapes import make_object
    >>> pose = np.eye(4)
    >>> pose[2, 3] = 500.0
    >>> K = [[60.0, 0, 16], [0, 60, 16], [0, 0, 1]]
    >>> picture = MeshRenderer([make_object("box", seed=0)]).render(pose[None], K, (32, 32))
    >>> picture.rgb.shape, bool(picture.depth[16, 16] > 400), int(picture.instance[16, 16])
    ((32, 32, 3), True, 0)
    """

    def __init__(self, meshes: Sequence[Mesh]) -> None:
        if not meshes:
            fail("MeshRenderer", "meshes", "at least one mesh", "none")
        self._solids = [Solid(mesh) for mesh in meshes]

    def render(
        self,
        cam_from_obj: ArrayLike,
        K: ArrayLike,
        size: tuple[int, int],
        *,
        which: Sequence[int] | None = None,
        light: Light | None = None,
        background: NDArray[np.uint8] | None = None,
        samples: int = 1,
    ) -> Rendering:
        """What the camera sees; where meshes overlap, the nearest.

        Args:
            cam_from_obj: float [n,4,4], millimetres, OpenCV axes.
            K: float [3,3], pixels; the centre of pixel (row i, column j) is (j + 0.5, i + 0.5).
            size: (height, width).
            which: the mesh of each pose; None: one pose for every mesh, in their order.
            light: None shows the colours as they are.
            background: uint8 [H,W,3] behind the objects; None: black.
            samples: rays per pixel along either axis for `rgb`, which smooths texture and, in front of a
                background, outlines. Depth and instance always hold for the pixel centre.

        Raises:
            ValueError: shapes that do not fit, a pose that is not rigid, K that is not finite, an empty picture.
        """
        poses, intrinsics = _checked_poses(cam_from_obj), _checked_intrinsics(K)
        which = range(len(self._solids)) if which is None else which
        self._check_call(poses, which, size, background, samples)
        shot = self._shot(poses, intrinsics, size, which)
        hits = _trace(shot)
        total, count = _colours(shot, hits, light, samples)
        behind = None if background is None else background[shot.window.slices].reshape(-1, 3)
        rgb = np.zeros((*size, 3), np.uint8) if background is None else background.copy()
        _place(rgb, shot.window, _blend(total, count, hits.instance >= 0, behind, samples))
        instance = _place(np.full(size, -1, np.int32), shot.window, hits.instance)
        return Rendering(rgb, _depth_picture(hits, shot.window, size), instance, hits.areas)

    def render_depth(
        self, cam_from_obj: ArrayLike, K: ArrayLike, size: tuple[int, int]
    ) -> NDArray[np.float32]:
        """[H,W] millimetres along z, 0 where nothing is hit: `render` without its colours."""
        poses, intrinsics = _checked_poses(cam_from_obj), _checked_intrinsics(K)
        which = range(len(self._solids))
        self._check_call(poses, which, size, None, 1)
        shot = self._shot(poses, intrinsics, size, which)
        return _depth_picture(_trace(shot), shot.window, size)

    def _shot(self, poses: Array, K: Array, size: tuple[int, int], which: Sequence[int]) -> _Shot:
        solids = [self._solids[mesh] for mesh in which]
        boxes = [_box(solid.mesh.bounds, pose, K, size) for solid, pose in zip(solids, poses, strict=True)]
        return _Shot(solids, poses, K, boxes, _around(boxes))

    def _check_call(
        self,
        poses: Array,
        which: Sequence[int],
        size: tuple[int, int],
        background: NDArray[np.uint8] | None,
        samples: int,
    ) -> None:
        if len(which) != len(poses):
            rule = f"[n,4,4] with n={len(which)} as there are meshes to show"
            fail("MeshRenderer.render", "cam_from_obj", rule, shape_text(poses.shape))
        if any(not 0 <= mesh < len(self._solids) for mesh in which):
            fail("MeshRenderer.render", "which", f"in 0..{len(self._solids) - 1}", list(which))
        if len(size) != 2 or min(size) < 1:
            fail("MeshRenderer.render", "size", "(height, width), both positive", size)
        if background is not None and (background.shape != (*size, 3) or background.dtype != np.uint8):
            got = f"{background.dtype} {shape_text(background.shape)}"
            fail("MeshRenderer.render", "background", f"uint8 [{size[0]},{size[1]},3]", got)
        if samples < 1:
            fail("MeshRenderer.render", "samples", "at least 1", samples)


def render_depth(
    mesh: Mesh, cam_from_obj: ArrayLike, K: ArrayLike, size: tuple[int, int]
) -> NDArray[np.float32]:
    """Depth of one mesh under one pose [4,4]: [H,W] millimetres along z, 0 where it is not.

    For several poses of a mesh keep a `MeshRenderer`.
    """
    return MeshRenderer([mesh]).render_depth(np.asarray(cam_from_obj)[None], K, size)


def _trace(shot: _Shot, *, with_depth: bool = True) -> _Hits:
    """What the pixel centres show; one mesh alone hides no other, so its depth can be left out."""
    num = shot.window.size[0] * shot.window.size[1]
    hits = _Hits(
        np.full(num, np.inf),
        np.full(num, -1, np.int32),
        np.zeros(num, np.int32),
        np.zeros((num, 2), np.float32),
        np.zeros(len(shot.poses), np.int64),
    )
    with_depth = with_depth or len(shot.poses) > 1
    for number, (solid, pose, box) in enumerate(zip(shot.solids, shot.poses, shot.boxes, strict=True)):
        if min(box.size) == 0:
            continue
        hit = solid.cast(_rays(shot.K, box), pose, with_depth=with_depth)
        hits.areas[number] = len(hit.ray)
        at = box.pixels_in(shot.window)[hit.ray]
        if hit.z is None:
            nearer = np.arange(len(at))
        else:
            nearer = np.flatnonzero(hit.z < hits.z[at])
            hits.z[at[nearer]] = hit.z[nearer]
        at = at[nearer]
        hits.face[at], hits.uv[at], hits.instance[at] = hit.face[nearer], hit.uv[nearer], number
    return hits


def _colours(shot: _Shot, hits: _Hits, light: Light | None, samples: int) -> tuple[Array, NDArray[np.int64]]:
    """Of each pixel the sum of the colours of its samples that hit something [P,3], and their number [P]."""
    if samples > 1:
        shot = shot.enlarged(samples)
        hits = _trace(shot, with_depth=False)
    colours = np.zeros((len(hits.instance), 3))
    for number, (solid, pose) in enumerate(zip(shot.solids, shot.poses, strict=True)):
        at = np.flatnonzero(hits.instance == number)
        face, uv = hits.face[at], hits.uv[at]
        colour = solid.colours(face, uv)
        if light is not None:
            normals = solid.normals(face, uv) @ pose[:3, :3].T
            colour = _lit(colour, normals, _rays(shot.K, shot.window)[at], light)
        colours[at] = colour
    seen = (hits.instance >= 0).astype(np.int64)
    return _sums(colours, shot.window, samples), _sums(seen[:, None], shot.window, samples)[:, 0]


def _sums(values: NDArray[Any], window: _Window, samples: int) -> NDArray[Any]:
    """Sums over squares of `samples` x `samples` pixels: of [P,c] in a window, row by row."""
    height, width = window.size
    picture = values.reshape(height // samples, samples, width // samples, samples, -1)
    total = sum(picture[:, row, :, column] for row in range(samples) for column in range(samples))
    return np.asarray(total).reshape(-1, values.shape[1])


def _lit(colours: Array, normals: Array, rays: Array, light: Light) -> Array:
    """Colours [h,3] under a light, by normals [h,3] in the camera's frame of any length."""
    normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    # Scans have faces turned the wrong way; what is seen faces the camera.
    normals *= -np.sign(np.einsum("hi,hi->h", normals, rays))[:, None]
    lamp = np.asarray(light.direction) / np.linalg.norm(light.direction)
    strength = light.ambient + light.diffuse * np.clip(normals @ lamp, 0, None)
    return np.clip(colours * strength[:, None] * light.colour, 0, 255)


def _rays(K: Array, window: _Window) -> Array:
    """Directions [P,3] with z = 1 through the pixel centres of a window, row by row."""
    height, width = window.size
    pixels = np.ones((height, width, 3))
    pixels[..., 0] = np.arange(window.left, window.right) + 0.5
    pixels[..., 1] = np.arange(window.top, window.bottom)[:, None] + 0.5
    rays: Array = pixels.reshape(-1, 3) @ np.linalg.inv(K).T
    return rays


def _box(bounds: Array, pose: Array, K: Array, size: tuple[int, int]) -> _Window:
    """The pixels that can see something within `bounds`: all of them if it reaches behind the camera."""
    height, width = size
    corners = np.stack(np.meshgrid(*bounds.T, indexing="ij"), -1).reshape(-1, 3)
    points = (corners @ pose[:3, :3].T + pose[:3, 3]) @ K.T
    if points[:, 2].max() <= 0:
        return _Window(0, 0, 0, 0)
    if points[:, 2].min() <= 1e-3:
        return _Window(0, 0, width, height)
    xy = points[:, :2] / points[:, 2:]
    low = np.clip(np.floor(xy.min(0)) - 1, 0, (width, height)).astype(int).tolist()
    high = np.clip(np.ceil(xy.max(0)) + 1, 0, (width, height)).astype(int).tolist()
    return _Window(*low, *high)


def _around(boxes: Sequence[_Window]) -> _Window:
    """The smallest window around all boxes that are not empty."""
    full = np.array([box for box in boxes if min(box.size) > 0])
    return (
        _Window(*full[:, :2].min(0).tolist(), *full[:, 2:].max(0).tolist())
        if len(full)
        else _Window(0, 0, 0, 0)
    )


def _depth_picture(hits: _Hits, window: _Window, size: tuple[int, int]) -> NDArray[np.float32]:
    z = np.where(hits.instance >= 0, hits.z, 0).astype(np.float32)
    return _place(np.zeros(size, np.float32), window, z)


def _place(picture: NDArray[Any], window: _Window, values: NDArray[Any]) -> NDArray[Any]:
    """Write what was found in a window, pixel by pixel, into its place in a picture [H,W,...]."""
    part = picture[window.slices]
    part[...] = values.reshape(part.shape)
    return picture


def _blend(
    total: Array,
    count: NDArray[np.int64],
    seen: NDArray[np.bool_],
    background: NDArray[np.uint8] | None,
    samples: int,
) -> NDArray[np.uint8]:
    """Mean of the samples of a pixel; those that miss show the background, or do not count if there is none."""
    if background is None:
        colour = np.where(seen[:, None], total / np.maximum(count, 1)[:, None], 0)
    else:
        colour = (total + (samples**2 - count)[:, None] * background.astype(np.float64)) / samples**2
    return (colour + 0.5).astype(np.uint8)


def _checked_poses(cam_from_obj: ArrayLike) -> Array:
    poses = np.asarray(cam_from_obj, dtype=np.float64)
    if poses.ndim != 3 or poses.shape[1:] != (4, 4):
        fail("MeshRenderer.render", "cam_from_obj", "[n,4,4]", shape_text(poses.shape))
    if not np.isfinite(poses).all():
        fail("MeshRenderer.render", "cam_from_obj", "finite", "NaN or infinite elements")
    off = float(rotation_error(torch.from_numpy(poses[:, :3, :3])).amax()) if len(poses) else 0.0
    if off > LARGEST_ROTATION_ERROR:
        fail(
            *("MeshRenderer.render", "cam_from_obj", "rigid, with a rotation of determinant 1"),
            f"a matrix off by {off:.2g}",
            "Scale the mesh instead of the pose.",
        )
    return poses


def _checked_intrinsics(K: ArrayLike) -> Array:
    matrix = np.asarray(K, dtype=np.float64)
    if matrix.shape != (3, 3):
        fail("MeshRenderer.render", "K", "[3,3]", shape_text(matrix.shape))
    if not np.isfinite(matrix).all() or not (matrix[2] == (0, 0, 1)).all() or np.linalg.det(matrix) <= 0:
        fail("MeshRenderer.render", "K", "[[fx,s,cx],[0,fy,cy],[0,0,1]] with fx, fy > 0", matrix.tolist())
    return matrix
