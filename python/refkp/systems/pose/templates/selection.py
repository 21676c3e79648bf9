"""Which templates go with a query: the one seen from nearest by, its neighbours, and views of other sides.

A template has one rotation about its optical axis out of all that show the same side, so the anchor is chosen by
viewing direction alone and the in-plane angle is kept apart.

Source: spec pose 2.2 and 2.3.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from refkp._checks import fail, require_choice, require_finite, require_input, require_trailing
from refkp.geometry.rotations import rotation_angle_between

Metric = Literal["view", "so3"]


class Selection(NamedTuple):
    """Templates for B queries, out of n."""

    anchor: Tensor  # int64 [B], the template seen from the direction nearest to the query's
    inplane_deg: Tensor  # float64 [B], see `inplane_angle_deg`
    positives: Tensor  # int64 [B,Sp], the anchor first
    negatives: Tensor  # int64 [B,Sn]
    ref_direction: Tensor  # float64 [B,3], unit, from the object to the camera of the anchor
    anchor_angle_deg: Tensor  # float64 [B], between the viewing directions of query and anchor
    is_far: Tensor  # bool [B,n], the templates that qualify as negatives


def view_directions(rotations: Tensor) -> Tensor:
    """Direction from the object to the camera, in the object frame: minus the third row of the rotation.

    Args:
        rotations: [...,3,3], object to camera (OpenCV axes).

    Returns:
        [...,3], unit vectors.

    >>> view_directions(torch.eye(3)) + 0.0
    tensor([ 0.,  0., -1.])
    """
    require_trailing("view_directions", "rotations", rotations, "3,3")
    return -rotations[..., 2, :]


def view_angles_deg(rotations: Tensor, others: Tensor) -> Tensor:
    """Angles between viewing directions, each with each: atan2(|a x b|, a.b), exact for small angles, too.

    Args:
        rotations: [B,3,3], object to camera.
        others: [n,3,3], object to camera.

    Returns:
        [B,n], degrees in [0,180].
    """
    a, b = torch.broadcast_tensors(view_directions(rotations)[:, None], view_directions(others))
    across = torch.linalg.vector_norm(torch.linalg.cross(a, b), dim=-1)
    return torch.rad2deg(torch.atan2(across, (a * b).sum(-1)))


def rotation_angles_deg(rotations: Tensor, others: Tensor) -> Tensor:
    """Angles of the rotations between object-to-camera rotations, each with each.

    Args:
        rotations: [B,3,3].
        others: [n,3,3].

    Returns:
        [B,n], degrees in [0,180].
    """
    # The angle of R1 R2^T, which is that of the transposes' a^T b.
    return torch.rad2deg(rotation_angle_between(rotations.mT[:, None], others.mT))


def inplane_angle_deg(rotations: Tensor, templates: Tensor) -> Tensor:
    """How far templates are turned about the optical axis against queries that see nearly the same side.

    R_t R_q^T = Rx(c) Ry(b) Rz(a), and a is returned: turning the template by Rz(-a) gives about the query.

    Args:
        rotations: [...,3,3], of the queries, object to camera.
        templates: [...,3,3], of the templates.

    Returns:
        [...], degrees in (-180,180].
    """
    between = templates @ rotations.mT
    return torch.rad2deg(torch.atan2(-between[..., 0, 1], between[..., 0, 0]))


def select_templates(
    R_query: Tensor,
    R_templates: Tensor,
    *,
    num_positives: int,
    num_negatives: int,
    metric: Metric = "view",
    min_negative_angle_deg: float = 90.0,
    generator: torch.Generator | None = None,
) -> Selection:
    """Choose the templates that a query is trained with.

    The anchor is the template with the nearest viewing direction; the other positives are those with the smallest
    rotation from the anchor (of equal ones, the first). Negatives are drawn without replacement from the templates
    at least `min_negative_angle_deg` away from the query; if there are too few, the farthest are taken. No template
    is both.

    Args:
        R_query: [B,3,3], object to camera.
        R_templates: [n,3,3], object to camera.
        num_positives: Sp, at least 1, the anchor included.
        num_negatives: Sn.
        metric: how far a negative is: the angle between viewing directions, or of the whole rotation, with which a
            negative may show the same side as the query, only turned.
        min_negative_angle_deg: as above.
        generator: of the draw; None: torch's own.

    Returns:
        Selection.

    Raises:
        ValueError: shapes that do not fit, NaN, or more templates asked for than there are.

    >>> from refkp.geometry.icosphere import cam_from_obj, icosphere_views
    >>> templates = cam_from_obj(icosphere_views(0))[:, :3, :3]
    >>> chosen = select_templates(templates[[7]], templates, num_positives=3, num_negatives=2)
    >>> chosen.anchor.tolist(), chosen.positives.shape, bool(chosen.is_far[0, chosen.negatives[0]].all())
    ([7], torch.Size([1, 3]), True)
    """
    _check_rotations(R_query, R_templates)
    require_choice("select_templates", "metric", metric, ("view", "so3"))
    num_templates = len(R_templates)
    if num_positives < 1 or num_negatives < 0 or num_positives + num_negatives > num_templates:
        rule = f"at least 1 and 0, together at most {num_templates}, the number of templates"
        fail("select_templates", "num_positives, num_negatives", rule, (num_positives, num_negatives))
    queries, templates = R_query.double(), R_templates.double()
    by_view = view_angles_deg(queries, templates)
    anchor_angle, anchor = by_view.min(1)
    positives = _nearest_to(anchor, templates)[:, :num_positives]
    angles = by_view if metric == "view" else rotation_angles_deg(queries, templates)
    is_far = angles >= min_negative_angle_deg
    # A random order of those that qualify, then the others from the farthest on, the positives last.
    order = torch.rand(angles.shape, dtype=torch.float64, generator=generator) + 1
    order = torch.where(is_far, order, angles / 360).scatter(1, positives, -1.0)
    return Selection(
        anchor,
        inplane_angle_deg(queries, templates[anchor]),
        positives,
        order.topk(num_negatives, dim=1).indices,
        view_directions(templates)[anchor],
        anchor_angle,
        is_far,
    )


def _nearest_to(anchor: Tensor, templates: Tensor) -> Tensor:
    """[B,n], the templates by their rotation from the anchor, which comes first."""
    angles = rotation_angles_deg(templates[anchor], templates)
    return angles.scatter(1, anchor[:, None], -1.0).argsort(dim=1, stable=True)


def _check_rotations(R_query: Tensor, R_templates: Tensor) -> None:
    for name, rotations in (("R_query", R_query), ("R_templates", R_templates)):
        require_input("select_templates", name, rotations, "B,3,3", (torch.float32, torch.float64))
        require_finite("select_templates", name, rotations)
    if not len(R_templates):
        fail("select_templates", "R_templates", "at least one template", "none")
