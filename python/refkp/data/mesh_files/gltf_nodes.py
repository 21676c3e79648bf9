"""Where the nodes of a glTF scene stand. Source: "glTF 2.0 Specification", section 3.5."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def placements(document: dict[str, Any]) -> Iterator[tuple[dict[str, Any], Array]]:
    """Nodes of the default scene that hold a mesh, and world_from_node [4,4]; without scenes, of all roots."""
    nodes = document.get("nodes", [])
    scenes = document.get("scenes", [])
    if scenes:
        roots = scenes[document.get("scene", 0)].get("nodes", [])
    else:
        children = {child for node in nodes for child in node.get("children", [])}
        roots = [number for number in range(len(nodes)) if number not in children]
    waiting = [(number, np.eye(4), 0) for number in reversed(roots)]
    while waiting:
        number, parent, depth = waiting.pop()
        if depth > len(nodes):
            raise KeyError(f"node {number} is its own parent")
        node = nodes[number]
        placement = parent @ _own(node)
        if "mesh" in node:
            yield node, placement
        waiting += [(child, placement, depth + 1) for child in reversed(node.get("children", []))]


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
