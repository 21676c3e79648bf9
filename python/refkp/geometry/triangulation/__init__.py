"""Triangulation: world points from what several calibrated views see of them.

`triangulate` is what data goes through: it finds the views that agree, refines on the pixels as they were
seen, and says how sure it is. `triangulate_dlt` is the linear solution, `triangulate_differentiable` the one
for losses.
"""

from __future__ import annotations

from refkp.geometry.triangulation.linear import (
    LinearPoints,
    reprojection_error,
    triangulate_differentiable,
    triangulate_dlt,
)
from refkp.geometry.triangulation.robust import Triangulation, TriangulationSpec, triangulate

__all__ = [
    "LinearPoints",
    "Triangulation",
    "TriangulationSpec",
    "reprojection_error",
    "triangulate",
    "triangulate_differentiable",
    "triangulate_dlt",
]
