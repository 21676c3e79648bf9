"""The relative pose that `flow_gt` asks for, from two object poses."""

from __future__ import annotations

import torch
from torch import Tensor

from refkp._checks import fail, number, shape_text


def relative_pose(dst_from_object: Tensor, src_from_object: Tensor, *, unit_scale: float = 1.0) -> Tensor:
    """dst_from_src of two cameras that see one object: X_dst = T_dst (unit_scale T_src^-1 X_src), in float64.

    Args:
        dst_from_object: [...,4,4] object to target camera; the translation in target units.
        src_from_object: [...,4,4] object to source camera, in source units; leading dimensions broadcast.
        unit_scale: target units per source unit, > 0.

    Returns:
        [...,4,4] float64, for `flow_gt(dst_from_src=...)`.

    Raises:
        ValueError: a shape that is not [...,4,4], or a unit scale that is not positive.
        torch.linalg.LinAlgError: a source pose that has no inverse.

    >>> query, template = torch.eye(4), torch.eye(4)
    >>> template[2, 3] = 5.0
    >>> relative_pose(template, query, unit_scale=10.0)[2].tolist()
    [0.0, 0.0, 10.0, 5.0]
    """
    unit_scale = number("relative_pose", "unit_scale", unit_scale)
    if not 0 < unit_scale < float("inf"):
        fail("relative_pose", "unit_scale", "finite and > 0", unit_scale)
    for name, pose in (("dst_from_object", dst_from_object), ("src_from_object", src_from_object)):
        if pose.shape[-2:] != (4, 4):
            fail("relative_pose", name, "[...,4,4]", shape_text(pose.shape))
    dst_from_object, src_from_object = dst_from_object.double(), src_from_object.double()
    units = torch.diag(dst_from_object.new_tensor([unit_scale, unit_scale, unit_scale, 1.0]))
    return dst_from_object @ units @ torch.linalg.inv(src_from_object)
