"""A body: a mesh, the joints that move it, and how its shape varies. Source: spec multiview e.1."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from refkp._checks import fail, require_finite, require_shape
from refkp.geometry.kinematics import require_tree

#: How far the rows of weights and of the regressor may be from summing to 1.
_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Body:
    """N vertices, J joints (the root first), B shapes, C components of sizes of limbs.

    Args:
        vertices: float [N,3], at rest, any unit.
        faces: int64 [F,3].
        weights: float [N,J], how much a joint moves a vertex; rows sum to 1.
        parents: J numbers, -1 for the root; parents come before their children.
        joint_names: J names.
        rest_joints: float [J,3], where the joints stand at rest; what `regressor` gives, if there is one.
        regressor: float [J,N], joints from vertices, rows sum to 1. None: the joints stay where they stand at rest
            whatever the shape ("static").
        shapedirs: float [N,3,B], what a unit of each shape adds to the vertices.
        posedirs: float [N,3,9(J-1)], what rotations add to them, by the elements of R - I; None: nothing.
        scaledirs, transdirs: float [C,J,3], components of the scales and offsets of joints; None: there are none.
        trans_sign: [3], what offsets of joints are multiplied by (spec e.2: from another handedness).
        limits: float [J], radians, the largest angle of a joint against rest; None: nobody knows.
        shape_mean, shape_cov: float [B] and [B,B], of the shapes of animals; None: mean 0, covariance 1.

    Raises:
        ValueError: shapes that do not fit, values that are not finite, weights or regressor that do not sum to 1.
    """

    vertices: Tensor
    faces: Tensor
    weights: Tensor
    parents: tuple[int, ...]
    joint_names: tuple[str, ...]
    rest_joints: Tensor
    regressor: Tensor | None
    shapedirs: Tensor
    posedirs: Tensor | None = None
    scaledirs: Tensor | None = None
    transdirs: Tensor | None = None
    trans_sign: tuple[float, float, float] = (1.0, -1.0, 1.0)
    limits: Tensor | None = None
    shape_mean: Tensor | None = None
    shape_cov: Tensor | None = None

    def __post_init__(self) -> None:
        require_tree("Body", self.parents)
        sizes = {
            "N": len(self.vertices),
            "J": len(self.parents),
            "B": self.shapedirs.shape[-1],
            "P": 9 * (len(self.parents) - 1),
        }
        if self.scaledirs is not None:
            sizes["C"] = len(self.scaledirs)
        for name, pattern in _SHAPES.items():
            value = getattr(self, name)
            if value is not None:
                require_shape("Body", name, value, pattern, **sizes)
                require_finite("Body", name, value)
        if len(self.joint_names) != sizes["J"] or len(set(self.joint_names)) != sizes["J"]:
            fail("Body", "joint_names", f"{sizes['J']} different names", list(self.joint_names))
        if len(self.faces) and not 0 <= int(self.faces.min()) <= int(self.faces.max()) < sizes["N"]:
            got = f"{int(self.faces.min())} to {int(self.faces.max())}"
            fail("Body", "faces", f"of vertices 0 to {sizes['N'] - 1}", got)
        if len(self.trans_sign) != 3:
            fail("Body", "trans_sign", "three numbers", self.trans_sign)
        _require_sums("weights", self.weights)
        if self.regressor is not None:
            _require_sums("regressor", self.regressor)

    @property
    def num_joints(self) -> int:
        """Joints, the root included."""
        return len(self.parents)

    @property
    def num_betas(self) -> int:
        """Shapes."""
        return self.shapedirs.shape[-1]

    @property
    def bones(self) -> list[tuple[int, int]]:
        """Pairs of a parent and the joint that hangs on it."""
        return [(parent, joint) for joint, parent in enumerate(self.parents) if parent >= 0]

    @property
    def length(self) -> float:
        """The longest side of the box around the joints at rest, which sizes of a body are told by."""
        return float((self.rest_joints.amax(0) - self.rest_joints.amin(0)).max())

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Body:
        """The same elsewhere, or in another floating type; faces stay whole numbers."""
        moved: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                moved[field.name] = value.to(device, dtype if value.is_floating_point() else None)
        return replace(self, **moved)


_SHAPES = {
    "vertices": "N,3",
    "faces": "F,3",
    "weights": "N,J",
    "rest_joints": "J,3",
    "regressor": "J,N",
    "shapedirs": "N,3,B",
    "posedirs": "N,3,P",
    "scaledirs": "C,J,3",
    "transdirs": "C,J,3",
    "limits": "J",
    "shape_mean": "B",
    "shape_cov": "B,B",
}


def _require_sums(name: str, values: Tensor) -> None:
    off = (values.sum(1) - 1).abs()
    if len(off) and float(off.max()) > _SUM_TOLERANCE:
        worst = int(off.argmax())
        remedy = "A body whose joints do not follow its shape has no regressor: it is static."
        fail("Body", name, "of rows that sum to 1", f"{float(values[worst].sum()):g} in row {worst}", remedy)
