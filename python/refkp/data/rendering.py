"""Pictures, depth and instance ids of posed meshes by casting one ray through each pixel centre.

Every mesh has an embree scene in its own frame, built once. A pose moves the rays, not the mesh; only rays
through the projected box of a mesh are cast. Embree says in float32 which triangle a ray meets; the depth is
then that of the triangle's plane in float64, so it is exact wherever the ray is not within rounding of an edge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from refkp._checks import fail, shape_text
from refkp._extras import named_extras
from refkp.data.mesh_files.parts import GREY
from refkp.data.meshes import Mesh
from refkp.data.surfaces import corner_normals, texture_colours
from refkp.geometry.rotations import LARGEST_ROTATION_ERROR, rotation_error

with named_extras():
    from embreex.mesh_construction import TriangleMesh
    from embreex.rtcore_scene import EmbreeScene

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


class _Hits(NamedTuple):
    """The nearest surface seen through each pixel of a picture, row by row."""

    z: Array  # [P], infinite where nothing is hit
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
        self._solids = [_Solid(mesh) for mesh in meshes]

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
        hits = self._trace(poses, intrinsics, size, which)
        seen = hits.instance >= 0
        depth = np.where(seen, hits.z, 0).astype(np.float32).reshape(size)
        instance = hits.instance.reshape(size)
        dense = intrinsics * [[samples], [samples], [1]]  # the same picture, `samples` times as large
        dense_size = (size[0] * samples, size[1] * samples)
        dense_hits = hits if samples == 1 else self._trace(poses, dense, dense_size, which)
        total, count = np.zeros((size[0] * size[1], 3)), np.zeros(size[0] * size[1], np.int64)
        for number, mesh in enumerate(which):
            at = np.flatnonzero(dense_hits.instance == number)
            rays = _rays(dense, at, dense_size[1])
            colour = self._solids[mesh].shade(dense_hits, at, rays, poses[number], light)
            pixel = (at // dense_size[1] // samples) * size[1] + at % dense_size[1] // samples
            count += np.bincount(pixel, minlength=len(count))
            for channel in range(3):
                total[:, channel] += np.bincount(pixel, colour[:, channel], minlength=len(count))
        rgb = _blend(total, count, seen, None if background is None else background.reshape(-1, 3), samples)
        return Rendering(rgb.reshape(*size, 3), depth, instance, hits.areas)

    def render_depth(
        self, cam_from_obj: ArrayLike, K: ArrayLike, size: tuple[int, int]
    ) -> NDArray[np.float32]:
        """[H,W] millimetres along z, 0 where nothing is hit: `render` without its colours."""
        poses, intrinsics = _checked_poses(cam_from_obj), _checked_intrinsics(K)
        which = range(len(self._solids))
        self._check_call(poses, which, size, None, 1)
        hits = self._trace(poses, intrinsics, size, which)
        return np.where(hits.instance >= 0, hits.z, 0).astype(np.float32).reshape(size)

    def _trace(self, poses: Array, K: Array, size: tuple[int, int], which: Sequence[int]) -> _Hits:
        num = size[0] * size[1]
        hits = _Hits(
            np.full(num, np.inf),
            np.full(num, -1, np.int32),
            np.zeros(num, np.int32),
            np.zeros((num, 2), np.float32),
            np.zeros(len(poses), np.int64),
        )
        for number, mesh in enumerate(which):
            solid = self._solids[mesh]
            pixels = _pixels_of_box(solid.mesh.bounds, poses[number], K, size)
            if not len(pixels):
                continue
            hit = solid.cast(_rays(K, pixels, size[1]), poses[number])
            hits.areas[number] = len(hit.ray)
            at = pixels[hit.ray]
            nearer = hit.z < hits.z[at]
            at = at[nearer]
            hits.z[at], hits.face[at], hits.uv[at] = hit.z[nearer], hit.face[nearer], hit.uv[nearer]
            hits.instance[at] = number
        return hits

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


class _SolidHits(NamedTuple):
    """Rays that meet one mesh."""

    ray: NDArray[np.int64]  # [h], which of the rays
    z: Array  # [h]
    face: NDArray[np.int32]  # [h]
    uv: NDArray[np.float32]  # [h,2]


class _Solid:
    """One mesh, its embree scene, and what shading needs of it."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        # About its middle, so that float32 loses least.
        self._corners = (mesh.vertices - mesh.centre)[mesh.faces]
        edges = self._corners[:, 1:] - self._corners[:, :1]
        self._plane_normals = np.cross(edges[:, 0], edges[:, 1])
        self._corner_normals: Array | None = None  # made when a light first asks for them
        self._scene = EmbreeScene()
        TriangleMesh(self._scene, self._corners.astype(np.float32))

    def cast(self, rays: Array, pose: Array) -> _SolidHits:
        """First hits of rays [r,3] from the camera centre whose z is 1, so that a hit's distance is its depth."""
        rotation = pose[:3, :3]
        inverse = np.linalg.inv(rotation)  # published rotations are no exact ones
        origin = -inverse @ pose[:3, 3] - self.mesh.centre
        directions = rays @ inverse.T
        origins = np.broadcast_to(origin.astype(np.float32), directions.shape).copy()
        result = self._scene.run(origins, directions.astype(np.float32), output=1)
        ray = np.flatnonzero(result["primID"] >= 0)
        face = result["primID"][ray]
        z = self._plane_depth(face, origin, directions[ray], rotation[2])
        return _SolidHits(ray, z, face, np.stack((result["u"][ray], result["v"][ray]), -1))

    def _plane_depth(self, face: NDArray[np.int32], origin: Array, rays: Array, forward: Array) -> Array:
        """Where the rays meet the planes of their faces: z = n.(p - o) / n.d.

        A face seen edge-on has no such point to rely on, so z is kept within the depths of its corners.
        """
        normals, corners = self._plane_normals[face], self._corners[face] - origin
        depths = corners @ forward
        with np.errstate(divide="ignore", invalid="ignore"):
            z = np.einsum("hi,hi->h", normals, corners[:, 0]) / np.einsum("hi,hi->h", normals, rays)
        return np.clip(np.where(np.isfinite(z), z, depths[:, 0]), depths.min(1), depths.max(1))

    def shade(
        self, hits: _Hits, at: NDArray[np.int64], rays: Array, pose: Array, light: Light | None
    ) -> Array:
        """Colours [h,3] in 0..255 at the pixels `at` of `hits`, which all show this mesh."""
        face, (second, third) = hits.face[at], hits.uv[at].T.astype(np.float64)
        weights = np.stack((1 - second - third, second, third), -1)
        colour = self._colours(face, weights)
        if light is None:
            return colour
        if self._corner_normals is None:
            self._corner_normals = corner_normals(self._corners)
        normals = np.einsum("hc,hci->hi", weights, self._corner_normals[face]) @ pose[:3, :3].T
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
        # Scans have faces turned the wrong way; what is seen faces the camera.
        normals *= -np.sign(np.einsum("hi,hi->h", normals, rays))[:, None]
        lamp = np.asarray(light.direction) / np.linalg.norm(light.direction)
        strength = light.ambient + light.diffuse * np.clip(normals @ lamp, 0, None)
        return np.clip(colour * strength[:, None] * light.colour, 0, 255)

    def _colours(self, face: NDArray[np.int32], weights: Array) -> Array:
        mesh, corners = self.mesh, self.mesh.faces[face]
        if mesh.vertex_colours is None:
            colour = np.full((len(face), 3), float(GREY))
        else:
            colour = np.einsum("hc,hci->hi", weights, mesh.vertex_colours[corners].astype(np.float64))
        chosen = mesh.texture_of_face[face]
        for number, texture in enumerate(mesh.textures):
            at = np.flatnonzero(chosen == number)
            if mesh.uv is not None and len(at):
                uv = np.einsum("hc,hci->hi", weights[at], mesh.uv[corners[at]])
                colour[at] = texture_colours(texture, uv)
        return colour


def _rays(K: Array, pixels: NDArray[np.int64], width: int) -> Array:
    """Directions [r,3] with z = 1 through the centres of pixels that are counted row by row."""
    x, y = pixels % width + 0.5, pixels // width + 0.5
    rays: Array = np.stack((x, y, np.ones_like(x)), -1) @ np.linalg.inv(K).T
    return rays


def _pixels_of_box(bounds: Array, pose: Array, K: Array, size: tuple[int, int]) -> NDArray[np.int64]:
    """The pixels that can see something within `bounds`: all of them if it reaches behind the camera."""
    height, width = size
    corners = np.stack(np.meshgrid(*bounds.T, indexing="ij"), -1).reshape(-1, 3)
    points = (corners @ pose[:3, :3].T + pose[:3, 3]) @ K.T
    if points[:, 2].max() <= 0:
        return np.zeros(0, np.int64)
    x0, y0, x1, y1 = 0, 0, width, height
    if points[:, 2].min() > 1e-3:
        xy = points[:, :2] / points[:, 2:]
        (x0, y0), (x1, y1) = (
            np.clip(np.floor(xy.min(0)) - 1, 0, (width, height)).astype(int).tolist(),
            np.clip(np.ceil(xy.max(0)) + 1, 0, (width, height)).astype(int).tolist(),
        )
    return (np.arange(y0, y1)[:, None] * width + np.arange(x0, x1)).reshape(-1)


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
