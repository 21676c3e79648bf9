"""What a guess is worth: the rotation of a random template, and of the nearest of several."""

from __future__ import annotations

import torch
from torch import Tensor

from refkp._checks import fail, require_shape
from refkp.geometry.rotations import rotation_angle_between


def random_template_errors(
    truth: Tensor, templates: Tensor, count: int, generator: torch.Generator
) -> Tensor:
    """Rotation error of the nearest of `count` templates drawn without looking, for each truth.

    An estimator that only names one of the templates in front of it cannot be better. With `count` 1 it is a
    blind guess.

    Args:
        truth: cam_from_obj [n,4,4] float.
        templates: cam_from_obj [m,4,4], or [n,m,4,4] where each truth has its own.
        count: templates drawn for each truth, without repetition.
        generator: of the draw.

    Returns:
        [n] degrees.

    Raises:
        ValueError: a shape, or `count` outside 1..m.
    """
    require_shape("random_template_errors", "truth", truth, "n,4,4")
    if templates.dim() == 3:
        templates = templates.expand(len(truth), *templates.shape)
    require_shape("random_template_errors", "templates", templates, "n,m,4,4", n=len(truth))
    num_templates = templates.shape[1]
    if not 1 <= count <= num_templates:
        fail("random_template_errors", "count", f"in 1..{num_templates}", count)
    drawn = torch.rand(len(truth), num_templates, generator=generator).topk(count).indices
    chosen = templates[torch.arange(len(truth))[:, None], drawn, :3, :3]
    angle = rotation_angle_between(truth[:, None, :3, :3].double(), chosen.double())
    return angle.amin(1).rad2deg()
