"""2x3 affine maps theta of normalised image coordinates, as `torch.nn.functional.affine_grid` takes them.

theta maps OUTPUT to INPUT coordinates: the warped image at p shows the source at theta [p;1]. Coordinates
are (x, y) in [-1,1] with `align_corners=False`, so one theta fits every resolution. On non-square images a
rotation shears.
"""

from __future__ import annotations

import torch
from torch import Tensor

from refkp._checks import fail, require_trailing


def affine_theta(angle_deg: Tensor, scale: Tensor, translation: Tensor) -> Tensor:
    """theta of a rotation, an isotropic scale and a translation.

    theta = [[s cos a, s sin a, tx], [-s sin a, s cos a, ty]]; the translation is not scaled. A positive angle
    turns content clockwise on the screen, s < 1 enlarges it by 1/s, tx > 0 moves it left by tx * width / 2.

    Args:
        angle_deg: [...], float, degrees.
        scale: [...], float, not zero.
        translation: [...,2], float, (tx, ty) in normalised units (2 = the whole side).

    Returns:
        [...,2,3]. Gradients flow to all three.

    Raises:
        ValueError: the last axis of `translation` is not 2.

    Source: spec keypoints 2.1.

    >>> affine_theta(torch.tensor(0.0), torch.tensor(0.5), torch.tensor([0.1, -0.2]))
    tensor([[ 0.5000,  0.0000,  0.1000],
            [-0.0000,  0.5000, -0.2000]])
    """
    require_trailing("affine_theta", "translation", translation, "2")
    angle = torch.deg2rad(angle_deg)
    cosine, sine = scale * angle.cos(), scale * angle.sin()
    tx, ty = translation.unbind(-1)
    elements = torch.broadcast_tensors(cosine, sine, tx, -sine, cosine, ty)
    return torch.stack(elements, dim=-1).unflatten(-1, (2, 3))


def random_affine(
    batch: int,
    *,
    max_angle_deg: float = 15.0,
    scale: tuple[float, float] = (0.8, 1.0),
    max_translation: tuple[float, float] = (0.25, 0.25),
    generator: torch.Generator | None = None,
) -> Tensor:
    """Random theta per item: angle, scale and translation, each uniform in its range.

    The generator gives four numbers per item in the order angle, scale, tx, ty, so a seed fixes every theta
    and the first items do not depend on the batch size.

    Args:
        batch: number of maps, >= 0.
        max_angle_deg: angles lie in [-max_angle_deg, max_angle_deg].
        scale: (lowest, highest), 0 < lowest <= highest.
        max_translation: (x, y) in normalised units (2 = the whole side).
        generator: a CPU generator; the global one if None.

    Returns:
        [batch,2,3], float32, on the CPU.

    Raises:
        ValueError: a range is empty or a scale is not positive.

    Source: spec keypoints 2.1.

    >>> random_affine(4, generator=torch.Generator().manual_seed(0)).shape
    torch.Size([4, 2, 3])
    """
    if not 0 < scale[0] <= scale[1]:
        fail("random_affine", "scale", "(lowest, highest) with 0 < lowest <= highest", scale)
    if max_angle_deg < 0 or min(max_translation) < 0:
        fail("random_affine", "max_angle_deg, max_translation", ">= 0", (max_angle_deg, *max_translation))
    low = torch.tensor([-max_angle_deg, scale[0], -max_translation[0], -max_translation[1]])
    high = torch.tensor([max_angle_deg, scale[1], max_translation[0], max_translation[1]])
    draws = low + (high - low) * torch.rand(batch, 4, generator=generator)
    return affine_theta(draws[:, 0], draws[:, 1], draws[:, 2:])


def invert_affine(theta: Tensor) -> Tensor:
    """theta of the inverse map: [A t] -> [A^-1, -A^-1 t].

    Args:
        theta: [...,2,3], float, A invertible.

    Returns:
        [...,2,3], with gradient to `theta`.

    Raises:
        ValueError: the last axes are not 2,3, or A is singular (the check waits for a CUDA
            device).

    >>> invert_affine(torch.tensor([[0.5, 0.0, 0.1], [0.0, 0.5, -0.2]]))
    tensor([[ 2.0000,  0.0000, -0.2000],
            [ 0.0000,  2.0000,  0.4000]])
    """
    require_trailing("invert_affine", "theta", theta, "2,3")
    inverse, info = torch.linalg.inv_ex(theta[..., :2])
    if bool(info.any()):
        fail("invert_affine", "theta", "invertible", f"{int(info.count_nonzero())} singular maps")
    return torch.cat((inverse, -(inverse @ theta[..., 2:])), dim=-1)


def compose_affine(first: Tensor, second: Tensor) -> Tensor:
    """theta of warping by `first` and then by `second` in one warp: p -> first(second(p)).

    Because theta maps output to input, the map of the later warp is applied to the coordinates first.

    Args:
        first, second: [...,2,3], float; leading axes broadcast.

    Returns:
        [...,2,3], with gradient to both.

    Raises:
        ValueError: the last axes are not 2,3.

    >>> theta = torch.tensor([[0.5, 0.0, 0.1], [0.0, 0.5, -0.2]])
    >>> compose_affine(theta, invert_affine(theta))
    tensor([[1., 0., 0.],
            [0., 1., 0.]])
    """
    require_trailing("compose_affine", "first", first, "2,3")
    require_trailing("compose_affine", "second", second, "2,3")
    linear = first[..., :2]
    return torch.cat((linear @ second[..., :2], linear @ second[..., 2:] + first[..., 2:]), dim=-1)
