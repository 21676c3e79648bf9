"""Guards against wrong units: metres for millimetres, or the wrong depth scale.

Source: spec pose 9.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from refkp._checks import fail, require_finite, require_shape
from refkp.data.meshes import PLAUSIBLE_EXTENT_MM, Mesh
from refkp.data.rendering import render_depth

#: Distances from which an object is looked at, in units of its own longest side.
PLAUSIBLE_DISTANCE = (0.2, 300.0)

#: How far the median depth of an object may be from its translation, as a factor either way.
PLAUSIBLE_DEPTH_FACTOR = 3.0

#: Distances of template cameras, in diameters of the object: twice the diagonal of its box is 2 to 3.5 of them.
PLAUSIBLE_TEMPLATE_DISTANCE = (0.7, 10.0)

_COMMON_FACTORS = (1000.0, 100.0, 10.0, 0.1, 0.01, 0.001)


def check_units(points: Tensor, cam_from_obj: Tensor, depth: Tensor | None = None) -> None:
    """Raise unless object, pose and depth can all be in millimetres.

    The object is 5 mm to 5 m long, stands in front of the camera at 0.2 to 300 times its length, and the depth
    seen is within a factor of three of that distance.

    Args:
        points: [n,3], some of the object's surface that spans it, such as its vertices.
        cam_from_obj: [4,4].
        depth: depths seen of the object, any shape; values that are not finite or not positive are left out.
            None: not known.

    Raises:
        ValueError: what does not fit, and the factor that would.

    >>> points = torch.tensor([[-50.0, 0, 0], [50, 0, 0]])
    >>> pose = torch.eye(4)
    >>> pose[2, 3] = 0.5  # metres
    >>> check_units(points, pose)
    Traceback (most recent call last):
    ValueError: check_units: `cam_from_obj` must be at 0.2 to 300 times the object's length of 100 mm; got 0.5 mm.
    Times 1000 it would be: is it in another unit?
    """
    require_shape("check_units", "points", points, "n,3")
    require_shape("check_units", "cam_from_obj", cam_from_obj, "4,4")
    require_finite("check_units", "points", points)
    require_finite("check_units", "cam_from_obj", cam_from_obj)
    if not len(points):
        fail("check_units", "points", "at least one point", "none")
    length = float((points.max(0).values - points.min(0).values).max())
    least, most = PLAUSIBLE_EXTENT_MM
    if not least <= length <= most:
        rule = f"of an object {least:g} to {most:g} mm long"
        fail("check_units", "points", rule, f"{length:g} mm", _hint(length, least, most))
    middle = (points.max(0).values + points.min(0).values) / 2
    distance = float(cam_from_obj[2, :3] @ middle.to(cam_from_obj) + cam_from_obj[2, 3])
    if distance <= 0:
        got = f"z = {distance:g} mm"
        fail("check_units", "cam_from_obj", "object to camera, in front of it", got, "Is it the inverse?")
    near, far = (factor * length for factor in PLAUSIBLE_DISTANCE)
    if not near <= distance <= far:
        rule = "at {:g} to {:g} times the object's length of {:g} mm".format(*PLAUSIBLE_DISTANCE, length)
        fail("check_units", "cam_from_obj", rule, f"{distance:g} mm", _hint(distance, near, far))
    if depth is not None:
        _check_depth(depth, distance)


def check_template_distance(cam_from_obj: Tensor, diameter: float, centre: Tensor) -> None:
    """Raise unless template cameras stand where templates are rendered from: in another unit they do not.

    Args:
        cam_from_obj: [n,4,4] of the templates of an object.
        diameter: of the object, millimetres.
        centre: [3], the middle of the object in its frame, which need not be the origin.

    Raises:
        ValueError: the median distance along the optical axis is not 0.7 to 10 diameters.
    """
    require_shape("check_template_distance", "cam_from_obj", cam_from_obj, "n,4,4")
    require_shape("check_template_distance", "centre", centre, "3")
    distance = float((cam_from_obj[:, 2, :3] @ centre.to(cam_from_obj) + cam_from_obj[:, 2, 3]).median())
    near, far = (factor * diameter for factor in PLAUSIBLE_TEMPLATE_DISTANCE)
    if not near <= distance <= far:
        rule = "at {:g} to {:g} diameters of {:g} mm".format(*PLAUSIBLE_TEMPLATE_DISTANCE, diameter)
        remedy = "Check `scale_factor`, the units per millimetre of published templates, and the unit of the models."
        fail("check_template_distance", "cam_from_obj", rule, f"{distance:g} mm", remedy)


def check_pose_depth(
    depth: Tensor, mesh: Mesh, cam_from_obj: Tensor, K: Tensor, *, tolerance: float = 0.1
) -> float:
    """How far a measured depth is from the mesh under a pose: the median of |rendered - measured|.

    Args:
        depth: [H,W], millimetres, 0 where unknown, of the object alone or of the whole picture.
        mesh: the object.
        cam_from_obj: [4,4], millimetres.
        K: [3,3].
        tolerance: the largest median that passes, as a share of the object's diameter.

    Returns:
        The median over the pixels with both, millimetres.

    Raises:
        ValueError: no pixel has both, or the median is too large.
    """
    require_shape("check_pose_depth", "depth", depth, "H,W")
    height, width = depth.shape
    rendered = torch.from_numpy(render_depth(mesh, cam_from_obj.numpy(), K.numpy(), (height, width)))
    both = (rendered > 0) & torch.isfinite(depth) & (depth > 0)
    if not both.any():
        remedy = "Check the pose, K and the unit of the mesh."
        fail("check_pose_depth", "depth", "known where the object is", "no pixel in common", remedy)
    median = float((rendered[both] - depth[both]).abs().median())
    if median > tolerance * mesh.diameter:
        rule = f"within {tolerance:g} of the diameter of {mesh.diameter:g} mm from the posed mesh"
        factor = float((rendered[both] / depth[both]).median())
        remedy = f"The rendered depth is {factor:.3g} times the measured one."
        fail("check_pose_depth", "depth", rule, f"a median of {median:g} mm", remedy)
    return median


def _check_depth(depth: Tensor, distance: float) -> None:
    known = depth[torch.isfinite(depth) & (depth > 0)]
    if not known.numel():
        remedy = "Pass None where there is no depth."
        fail("check_units", "depth", "known for some pixel", "none finite and positive", remedy)
    median = float(known.median())
    near, far = distance / PLAUSIBLE_DEPTH_FACTOR, distance * PLAUSIBLE_DEPTH_FACTOR
    if not near <= median <= far:
        rule = f"near the object's distance of {distance:g} mm"
        remedy = _hint(median, near, far) or "Check the depth scale."
        fail("check_units", "depth", rule, f"a median of {median:g} mm", remedy)


def _hint(value: float, least: float, most: float) -> str:
    """The factor between units that would make `value` fit."""
    fitting = [factor for factor in _COMMON_FACTORS if least <= value * factor <= most]
    if not fitting:
        return ""
    middle = np.log(least * most) / 2
    best = min(fitting, key=lambda factor: abs(np.log(value * factor) - middle))
    return f"Times {best:g} it would be: is it in another unit?"
