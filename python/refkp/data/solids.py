"""One mesh as rays meet it: its embree scene, exact depths, and what its surface looks like."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from refkp._extras import named_extras
from refkp.data.mesh_files.parts import GREY
from refkp.data.meshes import Mesh
from refkp.data.surfaces import corner_normals, texture_colours

with named_extras():
    from embreex.mesh_construction import TriangleMesh
    from embreex.rtcore_scene import EmbreeScene

Array = NDArray[np.float64]


class SolidHits(NamedTuple):
    """Rays that meet a mesh, and where."""

    ray: NDArray[np.int64]  # [h], which of the rays
    z: Array | None  # [h], depth; None if it was not asked for
    face: NDArray[np.int32]  # [h]
    uv: NDArray[np.float32]  # [h,2], barycentric weights of the second and third corner


class Solid:
    """One mesh, its embree scene, and what colours need of it."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        # About its middle, so that float32 loses least.
        self._corners = (mesh.vertices - mesh.centre)[mesh.faces]
        edges = self._corners[:, 1:] - self._corners[:, :1]
        self._plane_normals = np.cross(edges[:, 0], edges[:, 1])
        self._corner_uv = None if mesh.uv is None else mesh.uv[mesh.faces]
        self._scene = EmbreeScene()
        TriangleMesh(self._scene, self._corners.astype(np.float32))

    def cast(self, rays: Array, pose: Array, *, with_depth: bool = True) -> SolidHits:
        """First hits of rays [r,3] from the camera centre whose z is 1, so that a hit's distance is its depth."""
        rotation = pose[:3, :3]
        inverse = np.linalg.inv(rotation)  # published rotations are no exact ones
        origin = -inverse @ pose[:3, 3] - self.mesh.centre
        directions = rays @ inverse.T
        origins = np.broadcast_to(origin.astype(np.float32), directions.shape).copy()
        result = self._scene.run(origins, directions.astype(np.float32), output=1)
        ray = np.flatnonzero(result["primID"] >= 0)
        face = result["primID"][ray]
        z = self._plane_depth(face, origin, directions[ray], rotation[2]) if with_depth else None
        return SolidHits(ray, z, face, np.stack((result["u"][ray], result["v"][ray]), -1))

    def colours(self, face: NDArray[np.int32], uv: NDArray[np.float32]) -> Array:
        """Colours [h,3] in 0..255 of points of faces."""
        mesh, weights = self.mesh, _corner_weights(uv)
        if self._corner_uv is None:
            return self._plain_colours(face, weights)
        texture_uv = np.einsum("hc,hci->hi", weights, self._corner_uv[face])
        if mesh.face_texture is None:
            return texture_colours(mesh.textures[0], texture_uv)
        colour, chosen = self._plain_colours(face, weights), mesh.face_texture[face]
        for number, texture in enumerate(mesh.textures):
            at = np.flatnonzero(chosen == number)
            if len(at):
                colour[at] = texture_colours(texture, texture_uv[at])
        return colour

    def normals(self, face: NDArray[np.int32], uv: NDArray[np.float32]) -> Array:
        """Smooth normals [h,3] of points of faces in the object's frame, not of unit length."""
        normals: Array = np.einsum("hc,hci->hi", _corner_weights(uv), self._corner_normals[face])
        return normals

    def _plane_depth(self, face: NDArray[np.int32], origin: Array, rays: Array, forward: Array) -> Array:
        """Where the rays meet the planes of their faces: z = n.(p - o) / n.d.

        A face seen edge-on has no such point to rely on, so z is kept within the depths of its corners.
        """
        normals, corners = self._plane_normals[face], self._corners[face] - origin
        depths = corners @ forward
        with np.errstate(divide="ignore", invalid="ignore"):
            z = np.einsum("hi,hi->h", normals, corners[:, 0]) / np.einsum("hi,hi->h", normals, rays)
        return np.clip(np.where(np.isfinite(z), z, depths[:, 0]), depths.min(1), depths.max(1))

    def _plain_colours(self, face: NDArray[np.int32], weights: Array) -> Array:
        """Without textures."""
        if self.mesh.vertex_colours is None:
            return np.full((len(face), 3), float(GREY))
        corners = self.mesh.vertex_colours[self.mesh.faces[face]].astype(np.float64)
        colour: Array = np.einsum("hc,hci->hi", weights, corners)
        return colour

    @functools.cached_property
    def _corner_normals(self) -> Array:
        return corner_normals(self._corners)  # [F,3,3], made when a light first asks for them


def _corner_weights(uv: NDArray[np.float32]) -> Array:
    """Barycentric weights [h,3] of the three corners."""
    second, third = uv.T.astype(np.float64)
    return np.stack((1 - second - third, second, third), -1)
