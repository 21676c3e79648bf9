"""Samples with different numbers of views as one batch of tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from refkp.systems.multiview.batch import VIEW_FIELDS, Known, MultiviewBatch, MultiviewSample

#: What stands in slots that pad; NaN elsewhere, so that who forgets the mask sees it.
_PADDING = {"images": 0, "view_mask": 0, "camera_indices": 0, "visibility": 0}
_NAN = float("nan")


def collate(samples: Sequence[MultiviewSample]) -> MultiviewBatch:
    """Samples as a batch; what it says of a sample does not depend on the others.

    Raises:
        ValueError: no sample.
    """
    if not samples:
        raise ValueError("collate: `samples` must not be empty.")
    slots = max(len(sample.images) for sample in samples)
    of_views = {name: _batched([getattr(s, name) for s in samples], name, slots) for name in VIEW_FIELDS}
    labels = ("points", "global_rot", "joint_rot", "trans", "betas")
    of_samples = {name: _batched([getattr(s, name) for s in samples], name, None) for name in labels}
    all_labels = of_views | of_samples
    count, joints = len(samples), samples[0].keypoints.shape[1]
    known = Known(
        cameras=_known(all_labels["K"], (count, slots)),
        crop_affine=_known(all_labels["crop_affine"], (count, slots)),
        points=_known(all_labels["points"], (count, joints)),
        pose=_known(all_labels["global_rot"], (count,)),
        betas=_known(all_labels["betas"], (count,)),
    )
    sessions, frames = zip(*((sample.session, sample.frame) for sample in samples), strict=True)
    return MultiviewBatch(**all_labels, known=known, sessions=sessions, frames=frames)  # type: ignore[arg-type]


def _batched(parts: Sequence[Tensor | None], name: str, slots: int | None) -> Tensor | None:
    """The parts of all samples, padded to `slots` views where they have views; None if nobody has one."""
    there = [part for part in parts if part is not None]
    if not there:
        return None
    row = there[0].shape if slots is None else (slots, *there[0].shape[1:])
    batch = torch.full((len(parts), *row), _PADDING.get(name, _NAN), dtype=there[0].dtype)
    for target, part in zip(batch, parts, strict=True):
        if part is not None:
            target[: len(part)] = part
    return batch


def _known(label: Tensor | None, shape: tuple[int, ...]) -> Tensor:
    """Where a label is finite in all that follows the axes of `shape`."""
    if label is None:
        return torch.zeros(shape, dtype=torch.bool)
    return torch.isfinite(label).flatten(len(shape)).all(-1)
