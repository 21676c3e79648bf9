"""Where the nodes of a glTF scene stand. Source: "glTF 2.0 Specification", section 3.5."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class PlacedNode(NamedTuple):
    """A node of a scene."""

    number: int
    parent: int  # its number; -1 for a root
    fields: dict[str, Any]
    world: Array  # [4,4], world_from_node


def placed_nodes(document: dict[str, Any]) -> Iterator[PlacedNode]:
    """The nodes of the default scene, each before its children; without scenes, of all roots."""
    nodes = document.get("nodes", [])
    scenes = document.get("scenes", [])
    if scenes:
        roots = scenes[document.get("scene", 0)].get("nodes", [])
    else:
        children = {child for node in nodes for child in node.get("children", [])}
        roots = [number for number in range(len(nodes)) if number not in children]
    waiting = [(number, -1, np.eye(4), 0) for number in reversed(roots)]
    while waiting:
        number, parent, above, depth = waiting.pop()
        if depth > len(nodes):
            raise KeyError(f"node {number} is its own parent")
        node = nodes[number]
        world = above @ _own(node)
        yield PlacedNode(number, parent, node, world)
        waiting += [(child, number, world, depth + 1) for child in reversed(node.get("children", []))]


def _own(node: dict[str, Any]) -> Array:
    """parent_from_node: a matrix by columns, or scale, then turn by the quaternion (x,y,z,w), then shift."""
    if "matrix" in node:
        return np.array(node["matrix"], dtype=np.float64).reshape(4, 4).T
    matrix = np.eye(4)
    x, y, z, w = node.get("rotation", (0.0, 0.0, 0.0, 1.0))
    turn = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    matrix[:3, :3] = turn * np.array(node.get("scale", (1.0, 1.0, 1.0)))
    matrix[:3, 3] = node.get("translation", (0.0, 0.0, 0.0))
    return matrix
