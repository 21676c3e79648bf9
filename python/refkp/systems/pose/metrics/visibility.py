"""VSD: how well the visible surfaces of the object in two poses agree, pixel by pixel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from refkp._checks import fail, require_shape

#: Tolerance of the visibility test in millimetres.
VISIBILITY_TOLERANCE = 15.0
_TOLERANCE_OF = {"itodd": 5.0}
#: Misalignment tolerances, as parts of the diameter.
VSD_TAUS = tuple(step / 20 for step in range(1, 11))


def visibility_tolerance(dataset: str) -> float:
    """The tolerance that the challenge uses for a data set, in millimetres.

    >>> visibility_tolerance("itodd"), visibility_tolerance("ycbv")
    (5.0, 15.0)
    """
    return _TOLERANCE_OF.get(dataset, VISIBILITY_TOLERANCE)


def distance_map(depth: Tensor, K: Tensor, *, pixel_offset: float = 0.5) -> Tensor:
    """Distances from the camera centre along the rays, from depths along the optical axis.

    d = z |K^-1 (j + o, i + o, 1)|.

    Args:
        depth: [...,H,W] float, 0 where there is none.
        K: [3,3] pixels.
        pixel_offset: where pixel (i, j) was sampled: (j + o, i + o).

    Returns:
        [...,H,W] of the dtype of `depth`, 0 where there is no depth.

    Source: spec pose 6.5.
    """
    height, width = depth.shape[-2:]
    v, u = torch.meshgrid(
        torch.arange(height, dtype=torch.float64, device=depth.device) + pixel_offset,
        torch.arange(width, dtype=torch.float64, device=depth.device) + pixel_offset,
        indexing="ij",
    )
    rays = torch.stack((u, v, torch.ones_like(u)), -1) @ torch.linalg.inv(K.to(u)).mT
    return depth * torch.linalg.vector_norm(rays, dim=-1).to(depth)


def visible_surface(scene: Tensor, model: Tensor, tolerance: float) -> Tensor:
    """Where the model is not behind what the scene shows.

    Where the scene has no distance the model counts as visible: sensors miss shiny objects.

    Args:
        scene: [...,H,W] distances of the picture, 0 where unknown.
        model: [...,H,W] distances of the object alone, 0 off the object.
        tolerance: how far behind the scene the model may lie.

    Returns:
        bool, the broadcast shape.
    """
    return (model > 0) & ((model - scene <= tolerance) | (scene == 0))


def vsd(
    estimate: Tensor,
    truth: Tensor,
    scene: Tensor,
    diameter: float,
    *,
    tolerance: float = VISIBILITY_TOLERANCE,
    taus: Sequence[float] = VSD_TAUS,
) -> Tensor:
    """Visible surface discrepancy.

    Over the pixels where the object is visible in either pose, the share of those that are not visible in both,
    or whose distances differ by at least tau times the diameter. What is visible in the true pose also is in the
    estimated one, wherever the object is there.

    Args:
        estimate: [...,H,W] distances (`distance_map`) of the object alone in the estimated pose, 0 off it.
        truth: the same in the true pose.
        scene: the same of the whole picture, 0 where unknown.
        diameter: of the object, in the unit of the distances.
        tolerance: of the visibility test, in that unit.
        taus: misalignment tolerances as parts of the diameter.

    Returns:
        [...,len(taus)] float64 in [0,1]; 1 where neither pose shows a pixel.

    Raises:
        ValueError: images of different sizes, or a diameter that is not positive.

    Source: spec pose 6.5.
    """
    size = scene.shape[-2:]
    for name, image in (("estimate", estimate), ("truth", truth)):
        if image.shape[-2:] != size:
            fail("vsd", name, f"of the size of `scene` {list(size)}", list(image.shape[-2:]))
    if not diameter > 0:
        fail("vsd", "diameter", "positive", diameter)
    in_truth = visible_surface(scene, truth, tolerance)
    in_estimate = visible_surface(scene, estimate, tolerance) | (in_truth & (estimate > 0))
    both, either = in_truth & in_estimate, in_truth | in_estimate
    union = either.sum((-2, -1)).double()
    gap = (truth - estimate).abs() / diameter
    limits = torch.tensor(taus, dtype=gap.dtype, device=gap.device)
    require_shape("vsd", "taus", limits, "n")
    wrong = torch.stack([(both & (gap >= tau)).sum((-2, -1)) for tau in limits], -1)
    only_one = union - both.sum((-2, -1))
    error = (wrong + only_one[..., None]) / union[..., None]
    return torch.where(union[..., None] > 0, error, 1.0)
