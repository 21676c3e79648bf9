"""Perspective tiles from equirectangular panoramas."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from refkp._checks import refuse_tangents
from refkp.ops._backends import choose_backend
from refkp.ops.e2p import checks, library, reference

__all__ = ["e2p"]


def e2p(
    erp: Tensor,
    rotation: Tensor,
    *,
    hfov_deg: float | Sequence[float],
    size: Sequence[int],
    vfov_deg: float | Sequence[float] | None = None,
    image_index: Tensor | None = None,
    convention: str = "canonical",
    mode: str = "bilinear",
    antialias: str = "none",
    backend: str | None = None,
) -> Tensor:
    r"""Cut perspective tiles from equirectangular (ERP) images.

    Pixel (c, r) of tile n has tangents (t, s), t to the right and s up, and shows the image in the direction
    d = rotation[n] (t, s, 1). A direction (x, y, z) lies at the ERP index

        column = (lon / 2 pi + 1/2) W - 1/2,    lon = atan2(x, z)
        row    = (1/2 - lat / pi) H - 1/2,      lat = atan2(y, hypot(x, z))

    Axes: x right, y up, z forward. The middle of the ERP image is forward, its right half positive longitude,
    its top latitude +90; integer indices are pixel centres. Columns wrap around; beyond a pole the image goes
    on in the same row half a turn away, so sampling is continuous over the seam. A pole itself has longitude 0.
    With T = tan(fov/2), the conventions differ in the tangent of column c of w, the index, the poles and how
    "nearest" rounds:

    ============== ======================== ============ ======================== ==================
    convention     tangent                  ERP index    beyond a pole            nearest
    ============== ======================== ============ ======================== ==================
    canonical      T (2 (c + 1/2) / w - 1)  as above     crosses                  floor(index + 1/2)
    py360convert   T (2 c / (w - 1) - 1)    as above     crosses                  floor(index + 1/2)
    equilib        T (2 c / w - 1)          1 px more    row clamped to [0, H-1]  half to even
    ============== ======================== ============ ======================== ==================

    With one column py360convert's grid is its first point, -T, as in NumPy's linspace; rows likewise.

    The pyramid of "mip": level 0 is the image, and a pixel of level k the mean of the four of level k - 1 that
    it covers, as long as H and W/2 are even. A sample takes the level

        log2(side) - 1/2,  side = P max(step_x sqrt(1 + s^2), step_y sqrt(1 + t^2)) / (1 + t^2 + s^2),

    clamped to the levels there are, and linear between the two next to it. The steps are the differences of
    the tangents of neighbouring pixels and P = max(H / pi, W / 2 pi): `side` is the longer side of the tile
    pixel on the sphere, in ERP pixels of the equator. It does not grow with 1 / cos(lat) towards the poles,
    where a panorama has more columns than detail. The half of a level gives samples about the spread of the
    box. Where the image cannot be halved often enough for the pixel at the centre, n x n samples of 1/n of
    the pixel make up for it.

    Args:
        erp: images [B,C,H,W], uint8, float16, bfloat16, float32 or float64, of any strides (pixels [H,W,C]
            permuted to [C,H,W] are read in place). W must be even except for equilib.
        rotation: [N,3,3] float32 or float64 on the device of `erp`, world_from_camera: the camera's axes
            right, up and forward in ERP axes as columns; Ry(yaw) Rx(pitch) Rz(roll), positive yaw looking
            right, pitch up, and roll turning the right edge of the tile down.
        hfov_deg: horizontal field of view in degrees, inside (0, 180); one number, or a sequence of N.
        size: (h, w) of the tiles in pixels.
        vfov_deg: vertical field of view, likewise. None: square pixels, tan(vfov/2) = tan(hfov/2) h/w; for
            py360convert vfov = hfov whatever the aspect, as that package does with a scalar.
        image_index: int64 [N] on the CPU or the device of `erp`: the image each tile is cut from. None is
            allowed for one image (all tiles) or B = N images (one tile each).
        convention: "canonical", "py360convert" or "equilib".
        mode: "bilinear" or "nearest".
        antialias: "none" takes one sample per tile pixel. "box" takes the mean of s x s samples spread evenly
            over the pixel; s is the number of ERP pixels that a tile pixel spans at the centre of a level
            tile, the larger of both axes, rounded up, at most 4096. "mip" takes one sample of a pyramid of
            the image, see below: less exact than "box", and several times as fast where pixels span many.
        backend: "reference", "native", "triton" or None for the fastest that supports the call.

    Returns:
        Tiles [N,C,h,w] of the dtype of `erp`; float32 in [0, 255], not rounded, for uint8.

    Raises:
        ValueError: a wrong shape, dtype, device, field of view or option; on the CPU also a rotation that is
            not finite, orthonormal within 1e-3 and of determinant +1, and an image_index out of range. On
            CUDA these two give NaN tiles without gradient, because reading values would stall the device.
        NotImplementedError: a gradient to `rotation`, or forward mode (`torch.func.jvp`), is asked of another
            backend than "reference".

    A sample is the sum of its four neighbours, in "mip" of eight, by their weights; one of weight 0 does not
    count, be it NaN or infinite.

    Gradients flow to `erp` (floating dtypes), bitwise repeatable, once differentiable. The backend
    "reference" also differentiates by `rotation`. Where a gradient that comes is not finite, "triton" and CUDA,
    which add up integers, fill the whole gradient with NaN; on the CPU it spreads to its neighbours alone.

    Source: spec panorama 1.1-1.4; the pyramid is that of Williams, "Pyramidal parametrics", SIGGRAPH 1983.

    >>> erp = torch.arange(8.0).expand(1, 1, 4, 8)  # the value is the column
    >>> e2p(erp, torch.eye(3)[None], hfov_deg=90.0, size=(1, 3), backend="reference")
    tensor([[[[2.7513, 3.5000, 4.2487]]]])
    """
    checks.check_options(convention, mode, antialias)
    checks.check_erp(erp, convention)
    checks.check_rotation(rotation, erp)
    size = checks.check_size(size)
    image_index = checks.check_image_index(image_index, erp.shape[0], rotation)
    tangents_x, tangents_y = _tangents(hfov_deg, vfov_deg, rotation.shape[0], size, convention)
    backend = choose_backend(
        "e2p", backend, erp.device, erp.dtype if erp.is_floating_point() else torch.float32
    )
    if backend == "reference":
        return reference.e2p(
            erp, rotation, image_index, tangents_x, tangents_y, size, convention, mode, antialias
        )
    refuse_tangents("e2p", "Use backend='reference'.", erp=erp, rotation=rotation)
    if rotation.requires_grad and torch.is_grad_enabled():
        raise NotImplementedError(
            f"e2p: backend {backend!r} has no gradient to `rotation`. "
            "Use backend='reference', or pass rotation.detach()."
        )
    return library.e2p(
        erp, rotation, image_index, tangents_x, tangents_y, *size, convention, mode, antialias, backend
    )


def _tangents(
    hfov_deg: float | Sequence[float],
    vfov_deg: float | Sequence[float] | None,
    num_tiles: int,
    size: tuple[int, int],
    convention: str,
) -> tuple[list[float], list[float]]:
    """tan(hfov/2) and tan(vfov/2), one for all tiles or one for each."""
    tangents_x = checks.half_tangents("hfov_deg", hfov_deg, num_tiles)
    if vfov_deg is None:
        aspect = 1.0 if convention == "py360convert" else size[0] / size[1]
        return tangents_x, [tangent * aspect for tangent in tangents_x]
    tangents_y = checks.half_tangents("vfov_deg", vfov_deg, num_tiles)
    count = max(len(tangents_x), len(tangents_y)) if min(len(tangents_x), len(tangents_y)) else 0
    return tangents_x * (count // max(len(tangents_x), 1)), tangents_y * (count // max(len(tangents_y), 1))
