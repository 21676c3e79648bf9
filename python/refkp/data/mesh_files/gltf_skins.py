"""Skins of glTF: a mesh that joints move. What is read is the mesh as it was bound, not as its nodes stand.

Source: Khronos Group, "glTF 2.0 Specification", sections 3.7.2.2 (morph targets) and 3.7.3 (skins).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refkp._checks import fail
from refkp.data.mesh_files.gltf_document import GltfDocument, gltf_document
from refkp.data.mesh_files.gltf_nodes import PlacedNode, placed_nodes

Array = NDArray[np.float64]

#: How far the weights of a vertex may be from a sum of 1, and the maps of joints of two skins from each other.
_SUM_TOLERANCE, _MAP_TOLERANCE = 1e-3, 1e-4

#: Above the roots of a scene.
_SCENE = -1

#: How the attributes begin that say where vertices are and what moves them.
_BOUND = ("POSITION", "JOINTS_", "WEIGHTS_")


class SkinnedMesh(NamedTuple):
    """A mesh of V vertices bound to a tree of J joints, in the space and the unit in which it was bound.

    Joints that stand at `world` move a vertex to sum_j weights_j world_j bind_j^-1 v.
    """

    vertices: Array  # [V,3]
    faces: NDArray[np.int64]  # [F,3]
    weights: Array  # [V,J], rows sum to 1
    joints: tuple[str, ...]  # names; the root first, every parent before its children
    parents: tuple[int, ...]  # the next joint above, whatever nodes lie between; -1 for the root
    bind: Array  # [J,4,4], bind_from_joint: how each joint stood when the mesh was bound
    world: Array  # [J,4,4], world_from_joint, as the nodes of the file stand
    morphs: dict[str, Array]  # name of a morph target -> [V,3], what it adds to the vertices
    losses: tuple[str, ...]  # what else the file holds


class _Part(NamedTuple):
    """Some vertices of a skinned mesh with their faces, and the targets that they have."""

    vertices: Array
    faces: NDArray[np.int64]
    weights: Array
    morphs: dict[str, Array]


class _Binding(NamedTuple):
    """How a mesh is bound."""

    by: str  # which skin, or which node without one
    space: Array  # [4,4], from the mesh to the space of binding
    joints: NDArray[np.int64]  # [K], which of the J joints its JOINTS name
    has_weights: bool  # else it moves as a whole with its one joint


class _Tree(NamedTuple):
    """Joints, the root first."""

    numbers: list[int]  # of their nodes
    names: tuple[str, ...]
    parents: tuple[int, ...]
    bind: Array  # [J,4,4]
    world: Array  # [J,4,4]


def read_skin(path: Path | str, skin: str | None = None) -> SkinnedMesh:
    """The meshes of the default scene that joints move, as one.

    Skins of one skeleton are put together in the space of the first, which takes joints that they share. A mesh without
    a skin that hangs on a joint, such as an eye, moves with it. Where no joint is above all others, the lowest node
    above them all becomes one.

    Args:
        path: .gltf or .glb.
        skin: the name or the number of the skin, where the file holds several skeletons.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is broken or compressed, holds no skin or several skeletons, or a skin does not say how its
            joints stood.
    """
    path = Path(path)
    with gltf_document(path, "read_skin") as document:
        nodes = list(placed_nodes(document.json))
        chosen = _chosen_skins(document, nodes, skin)
        binds, spaces = _binds(document, chosen)
        tree = _tree(document, nodes, binds)
        parts = _Parts(document, nodes, tree, spaces)
        for node in nodes:
            parts.add(node)
        if not parts.parts:
            fail("read_skin", str(path), "a file with a skinned surface of triangles", "points or lines")
        losses = [*parts.losses, *_other_losses(document.json)]
        return _joined(parts.parts, tree, tuple(dict.fromkeys(losses)))


def _chosen_skins(document: GltfDocument, nodes: Sequence[PlacedNode], skin: str | None) -> list[int]:
    """Numbers of the skins to read."""
    used = list(dict.fromkeys(n.fields["skin"] for n in nodes if "skin" in n.fields and "mesh" in n.fields))
    if not used:
        remedy = "Bind the mesh to its armature and export it with skins, or give a table of bones, .csv."
        fail("read_skin", str(document.path), "a file with a skin: a mesh that joints move", "none", remedy)
    if skin is None:
        return used
    named = [number for number in used if skin in (document.json["skins"][number].get("name"), str(number))]
    if not named:
        fail("read_skin", "skin", f"one of {_names_of_skins(document, used)}", repr(skin))
    return named


def _names_of_skins(document: GltfDocument, skins: Sequence[int]) -> str:
    return ", ".join(repr(document.json["skins"][number].get("name", str(number))) for number in skins)


def _binds(document: GltfDocument, skins: Sequence[int]) -> tuple[dict[int, Array], dict[int, Array]]:
    """Node of a joint -> bind_from_joint [4,4] in the space of the first skin; skin -> the map into that space."""
    binds: dict[int, Array] = {}
    spaces: dict[int, Array] = {}
    for number in skins:
        own = _own_binds(document, number)
        maps = [binds[node] @ np.linalg.inv(bind) for node, bind in own.items() if node in binds]
        if binds and not (maps and np.allclose(maps, maps[0], atol=_MAP_TOLERANCE * np.abs(maps[0]).max())):
            got = f"several: {_names_of_skins(document, skins)}"
            remedy = "Choose one with --skin."
            fail("read_skin", str(document.path), "a file with one skeleton in one pose", got, remedy)
        spaces[number] = maps[0] if maps else np.eye(4)
        binds |= {node: spaces[number] @ bind for node, bind in own.items() if node not in binds}
    return binds, spaces


def _own_binds(document: GltfDocument, number: int) -> dict[int, Array]:
    """Node of a joint -> bind_from_joint [4,4] in the space of its own skin."""
    skin = document.json["skins"][number]
    if "inverseBindMatrices" not in skin:
        what = f"skin {skin.get('name', number)!r} of {document.path}"
        rule = "a skin with inverseBindMatrices, which say how its joints stood when the mesh was bound"
        fail("read_skin", what, rule, "none", "Export it again with the armature in its rest pose.")
    inverse = document.accessor(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
    return {node: np.linalg.inv(inverse[place]) for place, node in enumerate(skin["joints"])}


def _tree(document: GltfDocument, nodes: Sequence[PlacedNode], binds: dict[int, Array]) -> _Tree:
    """The joints in the order of the scene, under one root."""
    world = {_SCENE: np.eye(4), **{node.number: node.world for node in nodes}}
    above = {node.number: node.parent for node in nodes}
    chains = {number: _upwards(number, above) for number in binds}
    roots = [number for number, chain in chains.items() if not any(node in binds for node in chain[1:])]
    if len(roots) > 1:
        first = chains[roots[0]]
        root = next(node for node in first if all(node in chains[other] for other in roots))
        binds = {root: binds[roots[0]] @ np.linalg.inv(world[roots[0]]) @ world[root], **binds}
    order = [number for number in world if number in binds]
    nearest = {number: [node for node in _upwards(number, above)[1:] if node in binds] for number in order}
    return _Tree(
        order,
        _names(document.json["nodes"], order),
        tuple(order.index(nearest[number][0]) if nearest[number] else -1 for number in order),
        np.stack([binds[number] for number in order]),
        np.stack([world[number] for number in order]),
    )


def _upwards(number: int, above: dict[int, int]) -> list[int]:
    """A node and all above it, up to the scene."""
    chain = [number]
    while chain[-1] != _SCENE:
        chain.append(above[chain[-1]])  # no such node: the joint is not in the scene
    return chain


def _names(nodes: Sequence[dict[str, Any]], order: Sequence[int]) -> tuple[str, ...]:
    """Different names of all joints; those of one name get their number behind it."""
    given = ["root" if n == _SCENE else str(nodes[n].get("name") or f"joint_{n}") for n in order]
    times = Counter(given)
    return tuple(
        f"{name}_{number}" if times[name] > 1 else name for name, number in zip(given, order, strict=True)
    )


class _Parts:
    """The parts of bound meshes, vertices that several surfaces share read once."""

    def __init__(
        self, document: GltfDocument, nodes: Sequence[PlacedNode], tree: _Tree, spaces: dict[int, Array]
    ) -> None:
        self._document, self._spaces, self._tree = document, spaces, tree
        self._place = {number: place for place, number in enumerate(tree.numbers)}
        self._above: dict[int, int] = {}  # node -> place of the next joint above, or of itself
        for node in nodes:
            above = self._place.get(node.number, self._above.get(node.parent))
            if above is not None:
                self._above[node.number] = above
        self._known: dict[str, int] = {}
        self.parts: list[_Part] = []
        self.losses: list[str] = []

    def add(self, node: PlacedNode) -> None:
        """The surfaces of a node."""
        if "mesh" not in node.fields:
            return
        mesh = self._document.json["meshes"][node.fields["mesh"]]
        name = str(node.fields.get("name") or mesh.get("name") or f"mesh {node.fields['mesh']}")
        binding = self._binding(node)
        if binding is None:
            which = "of another skin" if "skin" in node.fields else "that hangs on no joint"
            self.losses.append(f"the mesh {name!r} {which}")
            return
        if any(node.fields.get("weights", mesh.get("weights", []))):
            told = f"the weights at which morph targets of {name!r} are set; the body starts at 0"
            self.losses.append(told)
        for primitive in mesh["primitives"]:
            self._add_surface(primitive, node.fields["mesh"], binding)

    def _binding(self, node: PlacedNode) -> _Binding | None:
        if "skin" in node.fields:
            skin = node.fields["skin"]
            if skin not in self._spaces:
                return None
            joints = [self._place[joint] for joint in self._document.json["skins"][skin]["joints"]]
            return _Binding(f"skin {skin}", self._spaces[skin], np.array(joints), True)
        joint = self._above.get(node.number)
        if joint is None:
            return None
        stays = self._tree.bind[joint] @ np.linalg.inv(self._tree.world[joint]) @ node.world
        return _Binding(f"node {node.number}", stays, np.array([joint]), False)

    def _add_surface(self, primitive: dict[str, Any], number: int, binding: _Binding) -> None:
        faces = self._document.faces(primitive)
        if faces is None:
            self.losses.append("points or lines")
            return
        if np.linalg.det(binding.space[:3, :3]) < 0:  # a mirror turns faces around
            faces = faces[:, ::-1]
        moved = {name: at for name, at in primitive["attributes"].items() if name.startswith(_BOUND)}
        key = repr((number, binding.by, sorted(moved.items()), primitive.get("targets")))
        if key in self._known:
            part = self.parts[self._known[key]]
            self.parts[self._known[key]] = part._replace(faces=np.concatenate((part.faces, faces)))
            return
        self._known[key] = len(self.parts)
        points, linear = self._document.accessor(primitive["attributes"]["POSITION"]), binding.space[:3, :3].T
        if len(faces) and not 0 <= faces.min() <= faces.max() < len(points):
            raise IndexError(f"faces of vertices up to {faces.max()}, of {len(points)}")
        weights = self._weights(primitive["attributes"], binding, len(points))
        morphs = self._morphs(primitive.get("targets", []), number, points.shape)
        morphs = {name: values @ linear for name, values in morphs.items()}
        self.parts.append(_Part(points @ linear + binding.space[:3, 3], faces, weights, morphs))

    def _weights(self, attributes: dict[str, int], binding: _Binding, count: int) -> Array:
        """[count,J] of all sets of four."""
        weights = np.zeros((count, len(self._place)))
        if not binding.has_weights:
            weights[:, binding.joints] = 1
            return weights
        for number in range(sum(name.startswith("JOINTS_") for name in attributes)):
            joint = self._document.accessor(attributes[f"JOINTS_{number}"]).astype(np.int64)
            weight = self._document.accessor(attributes[f"WEIGHTS_{number}"])
            joint = np.where(weight == 0, 0, joint)  # whatever stands where there is no weight
            if joint.size and joint.min() < 0:
                raise IndexError(f"joint {joint.min()}")
            np.add.at(weights, (np.arange(count)[:, None], binding.joints[joint]), weight)
        return self._summed_to_one(weights)

    def _summed_to_one(self, weights: Array) -> Array:
        sums = weights.sum(1)
        if not (sums > 0).all() or (weights < 0).any():
            rule = "weights from 0 of at least one joint for every vertex"
            got = f"{int((~(sums > 0) | (weights < 0).any(1)).sum())} vertices of {len(sums)} without"
            remedy = "Bind them in the program that made it."
            fail("read_skin", str(self._document.path), rule, got, remedy)
        off = np.abs(sums - 1) > _SUM_TOLERANCE
        if off.any():
            self.losses.append(f"sums of the weights of {int(off.sum())} vertices, which became 1")
        return np.where(off[:, None], weights / sums[:, None], weights)

    def _morphs(
        self, targets: Sequence[dict[str, int]], number: int, shape: tuple[int, ...]
    ) -> dict[str, Array]:
        """Name of a target of mesh `number` -> what it adds to its vertices."""
        mesh = self._document.json["meshes"][number]
        names = [str(name) for name in (mesh.get("extras") or {}).get("targetNames") or []]
        if len(set(names)) != len(targets):
            names = [f"{mesh.get('name') or f'mesh_{number}'}_{place}" for place in range(len(targets))]
        morphs = {}
        for name, target in zip(names, targets, strict=True):
            values = self._document.accessor(target["POSITION"]) if "POSITION" in target else np.zeros(shape)
            if values.shape != shape:
                raise IndexError(f"target {name!r} of {len(values)} vertices, of {shape[0]}")
            morphs[name] = values
        return morphs


def _other_losses(document: dict[str, Any]) -> Iterator[str]:
    """What no body holds."""
    if document.get("materials"):
        yield "colours and textures"
    if document.get("animations"):
        yield f"{len(document['animations'])} animations"


def _joined(parts: Sequence[_Part], tree: _Tree, losses: tuple[str, ...]) -> SkinnedMesh:
    starts = np.cumsum([0, *(len(part.vertices) for part in parts)])
    names = dict.fromkeys(name for part in parts for name in part.morphs)
    return SkinnedMesh(
        np.concatenate([part.vertices for part in parts]),
        np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=False)]),
        np.concatenate([part.weights for part in parts]),
        tree.names,
        tree.parents,
        tree.bind,
        tree.world,
        {
            name: np.concatenate([part.morphs.get(name, np.zeros_like(part.vertices)) for part in parts])
            for name in names
        },
        losses,
    )
