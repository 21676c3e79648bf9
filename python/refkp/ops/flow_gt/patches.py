"""Patch forms of a compact flow: pairs of patches, one class per patch, and the dense tensor for tests.

A grid holds the whole patches of an image, row by row: patch n = row * columns + column has its centre at the
image point ((column + 0.5) p, (row + 0.5) p), whatever the pixel offset. All functions here are plain torch,
on any device.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from refkp._checks import fail, require_dtype
from refkp.ops.flow_gt.result import IN_FRONT, INSIDE, NOT_OCCLUDED, VISIBLE, FlowGT


class PairFlow(NamedTuple):
    """In-patch flow of patch pairs (m stands for the dimensions of the pair indices)."""

    flow: (
        Tensor  # [B,S,m,p,p,2] patch units, x first: (uv of a source pixel - centre of the target patch) / p
    )
    confidence: Tensor  # [B,S,m,p,p]: exp(-|flow|), a geometric prior
    unseen: Tensor  # [B,S,m,p,p] bool

    @property
    def direction(self) -> str:
        return "source pixel -> target location"

    @property
    def origin(self) -> str:
        return "centre of the target patch"


def patch_grid(size: tuple[int, int], patch_size: int) -> tuple[int, int]:
    """(rows, columns) of whole patches in an image (height, width); a remainder at the end has none."""
    if not 0 < patch_size <= min(size):
        fail("patch_grid", "patch_size", f"between 1 and the image size {tuple(size)}", patch_size)
    return size[0] // patch_size, size[1] // patch_size


def patch_centres(size: tuple[int, int], patch_size: int, device: torch.device | str = "cpu") -> Tensor:
    """[N,2] float64: the image point (x, y) at the centre of each patch.

    >>> patch_centres((32, 48), 16).tolist()[:4]
    [[8.0, 8.0], [24.0, 8.0], [40.0, 8.0], [8.0, 24.0]]
    """
    rows, columns = patch_grid(size, patch_size)
    y = (torch.arange(rows, dtype=torch.float64, device=device) + 0.5) * patch_size
    x = (torch.arange(columns, dtype=torch.float64, device=device) + 0.5) * patch_size
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).flatten(0, 1)


def gather_pairs(
    gt: FlowGT,
    src_patch: Tensor,
    dst_patch: Tensor,
    patch_size: int,
    *,
    window: float = 2.0,
    min_visible: int = 4,
    strict: bool = True,
) -> PairFlow:
    """Flow of the pixels of a source patch relative to the centre of a target patch, for the pairs wanted.

        flow = (uv(pixel (a, b) of source patch) - centre of target patch) / p

    A pixel is seen if it is visible and |flow| < `window` patches; a pair with fewer than `min_visible` seen
    pixels is unseen as a whole. The direction is that of `gt` (source pixel to target location) and the
    origin is the centre of the target patch. So with gt = template -> query, `src_patch` the partner template
    patch of each query patch and `dst_patch` the query patches, `flow` is the dense training flow: query
    point = query patch centre + p * flow, paired with the 3D point of template pixel (a, b).

    Args:
        gt: compact flow [B,S,H,W].
        src_patch: [B,S,...] int64, index in the grid of the source image.
        dst_patch: int64, index in the grid of the target image; broadcasts against `src_patch`. A pair with
            an index outside its grid (the labels -1 and N, say) has no patch: flow 0, confidence 0, unseen.
        patch_size: p in pixels, the same in both images.
        window: patches.
        min_visible: pixels.
        strict: confidence 0 wherever unseen. False keeps it where only the window or a mask makes a pixel
            unseen, as the original did; it is then 0 where occluded or outside the target, and in pairs
            unseen as a whole.

    Returns:
        PairFlow; `flow` is 0 where a source pixel has no location (not in front).

    Source: spec pose 3.3, 3.5.
    """
    src_patch, dst_patch = _broadcast_indices(gt, src_patch, dst_patch)
    centres = patch_centres(gt.dst_size, patch_size, gt.uv.device).to(gt.uv.dtype)
    sources = _split(gt.flags, patch_size)
    exists = (src_patch >= 0) & (src_patch < sources.shape[2]) & (dst_patch >= 0) & (dst_patch < len(centres))
    src_patch, dst_patch = torch.where(exists, src_patch, 0), torch.where(exists, dst_patch, 0)
    flags = torch.where(exists[..., None, None], _take(sources, src_patch), 0)
    uv = _take(_split(gt.uv, patch_size), src_patch)
    flow = (uv - centres[dst_patch][..., None, None, :]) / patch_size
    flow = torch.where(((flags & IN_FRONT) != 0)[..., None], flow, 0)
    distance = torch.linalg.vector_norm(flow, dim=-1)
    seen = (flags == VISIBLE) & (distance < window)
    enough = seen.sum((-2, -1), keepdim=True) >= min_visible
    seen = seen & enough
    unblocked = (flags & (INSIDE | NOT_OCCLUDED)) == (INSIDE | NOT_OCCLUDED)
    confidence = torch.where(seen if strict else unblocked & enough, torch.exp(-distance), 0)
    return PairFlow(flow, confidence, ~seen)


def to_dense(
    gt: FlowGT,
    patch_size: int,
    *,
    window: float = 2.0,
    min_visible: int = 4,
    strict: bool = True,
    max_bytes: int = 2**28,
) -> PairFlow:
    """All pairs, m = (source patches, target patches): the same information N times, for small images.

    Raises ValueError if `flow` alone would take more than `max_bytes`. Arguments else as in `gather_pairs`.
    """
    batch, targets, height, width, _ = gt.uv.shape
    rows, columns = patch_grid((height, width), patch_size)
    rows_dst, columns_dst = patch_grid(gt.dst_size, patch_size)
    pairs = batch * targets * rows * columns * rows_dst * columns_dst
    size = pairs * patch_size**2 * 2 * gt.uv.element_size()
    if size > max_bytes:
        fail("to_dense", "gt", f"small enough for {max_bytes} bytes", f"{size} bytes", "Use `gather_pairs`.")
    src = torch.arange(rows * columns, device=gt.uv.device)[:, None].expand(batch, targets, -1, -1)
    dst = torch.arange(rows_dst * columns_dst, device=gt.uv.device)
    return gather_pairs(gt, src, dst, patch_size, window=window, min_visible=min_visible, strict=strict)


def patch_labels(gt: FlowGT, patch_size: int, *, vote: bool = False, reverse: FlowGT | None = None) -> Tensor:
    """The target patch that each source patch sees: classes for a patch classifier.

    By the centre pixel (row r p + p // 2, column c p + p // 2) of source patch (r, c): -1 if it is not on the
    object (source depth or mask), the index of the target patch with the nearest centre if it is visible
    there, else N, the number of target patches ("unseen"). A landing in the remainder of an image that p does
    not divide is unseen.

    Args:
        gt: compact flow source -> target, [B,S,H,W].
        patch_size: p in pixels, the same in both images.
        vote: let all visible pixels of the patch vote instead; ties go to the lower index. The patch is then
            on the object if any of its pixels is.
        reverse: flow target -> source, [B*S,1,Ht,Wt], each target image as the source of one row. If given, a
            match must be mutual: the centre pixel of the target patch is visible in the source and lands
            within one patch size of the centre of the source patch; else the label is N.

    Returns:
        [B,S,H//p,W//p] int64.

    Source: spec pose 3.4.
    """
    rows_dst, columns_dst = patch_grid(gt.dst_size, patch_size)
    unseen = rows_dst * columns_dst
    flags = _split(gt.flags, patch_size).flatten(-2)
    pixel_labels = _split(_pixel_labels(gt, patch_size), patch_size).flatten(-2)
    if vote:
        on_object = ((flags & 1) != 0).any(-1)
        ballots = torch.zeros(*flags.shape[:-1], unseen + 1, dtype=torch.int32, device=flags.device)
        ballots.scatter_add_(-1, pixel_labels, torch.ones_like(pixel_labels, dtype=torch.int32))
        seen = ballots[..., :unseen]
        labels = torch.where(seen.amax(-1) > 0, seen.argmax(-1), unseen)
    else:
        centre = patch_size // 2 * patch_size + patch_size // 2
        on_object, labels = (flags[..., centre] & 1) != 0, pixel_labels[..., centre]
    if reverse is not None:
        labels = torch.where(_returns(gt, reverse, labels, patch_size), labels, unseen)
    labels = torch.where(on_object, labels, -1)
    return labels.unflatten(-1, patch_grid((gt.flags.shape[2], gt.flags.shape[3]), patch_size))


def _pixel_labels(gt: FlowGT, patch_size: int) -> Tensor:
    """[B,S,H,W] int64: the target patch under each pixel's landing point, or N."""
    rows, columns = patch_grid(gt.dst_size, patch_size)
    # With pixel_offset 0 the first pixel begins at -0.5, left of every patch: its nearest patch is the first.
    column, row = (gt.uv / patch_size).floor().clamp(min=0).long().unbind(-1)
    there = gt.visible & (column < columns) & (row < rows)
    return torch.where(there, row * columns + column, rows * columns)


def _returns(gt: FlowGT, reverse: FlowGT, labels: Tensor, patch_size: int) -> Tensor:
    """[B,S,N] bool: the centre pixel of the labelled target patch lands near the source patch."""
    batch, targets, height, width, _ = gt.uv.shape
    wanted = (batch * targets, 1, *gt.dst_size, 2)
    if tuple(reverse.uv.shape) != wanted or reverse.dst_size != (height, width):
        fail("patch_labels", "reverse", f"the flow {list(wanted)} back to the source", list(reverse.uv.shape))
    middle = patch_size // 2
    uv = _split(reverse.uv, patch_size)[..., middle, middle, :].reshape(batch, targets, -1, 2)
    visible = _split(reverse.visible, patch_size)[..., middle, middle].reshape(batch, targets, -1)
    matched = labels < visible.shape[-1]
    index = torch.where(matched, labels, 0)
    back = torch.gather(uv, 2, index[..., None].expand(*index.shape, 2))
    centres = patch_centres((height, width), patch_size, uv.device).to(uv.dtype)
    near = torch.linalg.vector_norm(back - centres, dim=-1) <= patch_size
    return matched & torch.gather(visible, 2, index) & near


def _broadcast_indices(gt: FlowGT, src_patch: Tensor, dst_patch: Tensor) -> tuple[Tensor, Tensor]:
    for name, index in (("src_patch", src_patch), ("dst_patch", dst_patch)):
        require_dtype("gather_pairs", name, index, (torch.int64,))
    batch, targets = gt.flags.shape[:2]
    try:
        src_patch, dst_patch = torch.broadcast_tensors(src_patch, dst_patch)
        shape = torch.broadcast_shapes(src_patch.shape, (batch, targets) + (1,) * (src_patch.dim() - 2))
    except RuntimeError:
        shape = torch.Size()
    if src_patch.dim() < 2 or shape != src_patch.shape:
        got = f"{list(src_patch.shape)} and {list(dst_patch.shape)}"
        fail("gather_pairs", "src_patch", f"[B,S,...] with B={batch}, S={targets}, alike `dst_patch`", got)
    return src_patch, dst_patch


def _split(image: Tensor, patch_size: int) -> Tensor:
    """[B,S,H,W,...] -> [B,S,N,p,p,...], without the remainder."""
    rows, columns = patch_grid((image.shape[2], image.shape[3]), patch_size)
    image = image[:, :, : rows * patch_size, : columns * patch_size]
    image = image.unflatten(3, (columns, patch_size)).unflatten(2, (rows, patch_size))
    return image.transpose(3, 4).flatten(2, 3)


def _take(patches: Tensor, index: Tensor) -> Tensor:
    """[B,S,N,...] at index [B,S,m] -> [B,S,m,...]."""
    batch, targets = index.shape[:2]
    b = torch.arange(batch, device=index.device).view(-1, *(1,) * (index.dim() - 1))
    s = torch.arange(targets, device=index.device).view(-1, *(1,) * (index.dim() - 2))
    return patches[b, s, index]
