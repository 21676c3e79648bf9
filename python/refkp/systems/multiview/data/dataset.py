"""Samples of a file of `refkp multiview preprocess`, with the views that a step sees of each.

Every random draw of a sample follows from (seed, epoch, number of the sample), so samples are the same in whatever
process, on whatever rank. Source: spec multiview b.4 and c.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from refkp._checks import fail
from refkp.data.images import decode_rgb
from refkp.geometry.affine import compose_affine
from refkp.systems.multiview.batch import MultiviewSample
from refkp.systems.multiview.crops import crop_intrinsics, pixels_from_yx
from refkp.systems.multiview.data.augmentation import (
    PlacedViews,
    ViewAugmentation,
    augment_colours,
    draw_placement,
    place_views,
)
from refkp.systems.multiview.store.reading import SampleStore
from refkp.systems.multiview.store.records import StoredCameras, StoredSample
from refkp.training.sampling import SampleIndex, sample_generator

#: `num_views` for all that there are.
ALL_VIEWS = -1


class MultiviewDataset(Dataset[MultiviewSample]):
    """Samples of a file; the file is opened anew in each process that reads it.

    Args:
        source: the file, or its `SampleStore`.
        samples: numbers of those to use; None: all. Those without a view are left out.
        num_views: how many views of a sample are shown, never one that is not there: in training a random choice,
            else the first ones of the file's order of cameras. ALL_VIEWS: all that there are, without padding.
        view: name of the one camera that is shown, of the samples that it saw; None: several.
        drop_probability: in training, of each view being left out; one always stays.
        permute_probability: in training, of the views coming in a random order instead of the file's.
        augmentation: in training; None for none.
        joint_map: int64 [J], which joint of the file each joint of a body is, -1: none; None: the file's own joints.
        training: draw at random, anew in each epoch.
        seed: of every draw.

    Raises:
        ValueError: no sample is left, no such camera, or an argument out of its range.
    """

    def __init__(
        self,
        source: SampleStore | Path | str,
        samples: Sequence[int] | None = None,
        *,
        num_views: int = ALL_VIEWS,
        view: str | None = None,
        drop_probability: float = 0.0,
        permute_probability: float = 0.0,
        augmentation: ViewAugmentation | None = None,
        joint_map: Tensor | None = None,
        training: bool = False,
        seed: int = 0,
    ) -> None:
        if num_views < 1 and num_views != ALL_VIEWS:
            fail("MultiviewDataset", "num_views", f"at least 1, or {ALL_VIEWS} for all", num_views)
        for name, chance in (("drop", drop_probability), ("permute", permute_probability)):
            if not 0 <= chance <= 1:
                fail("MultiviewDataset", f"{name}_probability", "in [0,1]", chance)
        self.store = source if isinstance(source, SampleStore) else SampleStore(source)
        self.num_views = num_views
        self.drop_probability, self.permute_probability = drop_probability, permute_probability
        self.view = None if view is None else _camera_index(self.store, view)
        self.augmentation, self.training, self.seed = augmentation, training, seed
        self.joint_map = joint_map
        mask = self.store.samples.view_mask
        seen = np.asarray(mask.any(1) if self.view is None else mask[:, self.view])
        self.numbers = [i for i in (range(len(self.store)) if samples is None else samples) if seen[i]]
        if not self.numbers:
            rule = "of samples that " + (f"{view} saw" if view else "some camera saw")
            fail("MultiviewDataset", "samples", rule, f"none in {self.store.path}")

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: SampleIndex | int) -> MultiviewSample:
        """A sample, with the draws of its epoch (0 for a plain number)."""
        epoch, place = (index.epoch, index.number) if isinstance(index, SampleIndex) else (0, index)
        number = self.numbers[place]
        generator = sample_generator(self.seed, SampleIndex(epoch if self.training else 0, number))
        stored = self.store.read(number)
        sample = self._described(stored, self._chosen_views(stored.view_mask, generator))
        sample = sample._replace(images=self._pictures(stored, sample.camera_indices))
        if self.augmentation is not None and self.training:
            sample = augmented(sample, self.augmentation, generator)
        return sample

    def described(self, place: int) -> MultiviewSample:
        """All that is known of a sample without its pictures (of size 0), in all views that show it."""
        stored = self.store.read(self.numbers[place])
        return self._described(stored, torch.from_numpy(stored.view_mask).nonzero()[:, 0])

    def _chosen_views(self, view_mask: np.ndarray, generator: torch.Generator) -> Tensor:
        """Which views are shown, int64 [n], in the order in which they come."""
        if self.view is not None:
            return torch.tensor([self.view])
        available = torch.from_numpy(view_mask).nonzero()[:, 0]
        count = len(available) if self.num_views == ALL_VIEWS else min(self.num_views, len(available))
        if not self.training:
            return available[:count]
        order = torch.randperm(len(available), generator=generator)[:count]
        if self.drop_probability:
            kept = torch.rand(count, generator=generator) >= self.drop_probability
            order = order[kept] if bool(kept.any()) else order[:1]
        permuted = float(torch.rand((), generator=generator)) < self.permute_probability
        return available[order if permuted else order.sort().values]

    def _described(self, stored: StoredSample, views: Tensor) -> MultiviewSample:
        size = self.store.info.size
        visibility = self.of_body(torch.from_numpy(stored.visibility)[views], 1)
        labels = self.of_body(torch.from_numpy(stored.keypoints_yx)[views], 1)
        keypoints = pixels_from_yx(labels, torch.tensor([size, size]))
        K, R, t, crop_affine = self._cameras(stored.cameras, views)
        valid = (
            None if stored.points_valid is None else self.of_body(torch.from_numpy(stored.points_valid), 0)
        )
        rot, joint_rot, betas = (
            None if part is None else torch.from_numpy(part)
            for part in (stored.global_rot, stored.joint_rot, stored.betas)
        )
        if self.joint_map is not None and bool((self.joint_map != torch.arange(len(visibility[0]))).any()):
            rot = joint_rot = betas = None  # of another body
        return MultiviewSample(
            torch.zeros(len(views), 3, 0, 0, dtype=torch.uint8),
            torch.ones(len(views), dtype=torch.bool),
            views,
            _or_nan(keypoints, visibility > 0),
            visibility,
            K,
            R,
            t,
            crop_affine,
            None if valid is None else _or_nan(self.of_body(self._metres(stored.points), 0), valid),
            rot,
            joint_rot,
            None if stored.trans is None or rot is None else self._metres(stored.trans),
            betas,
            stored.session,
            stored.frame,
        )

    def of_body(self, values: Tensor, axis: int) -> Tensor:
        """Values of the file's joints along an axis as those of the body's, 0 where none stands for it."""
        if self.joint_map is None:
            return values
        chosen = values.index_select(axis, self.joint_map.clamp(min=0))
        chosen.index_fill_(axis, (self.joint_map < 0).nonzero()[:, 0], 0)
        return chosen

    def _cameras(
        self, cameras: StoredCameras | None, views: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
        """K, R, t and the map of the crop of some views; None where none of them has one."""
        if cameras is None:
            return None, None, None, None
        self._require_pinholes(cameras)
        known = torch.from_numpy(cameras.known)[views]
        affine = None if cameras.crop_affine is None else torch.from_numpy(cameras.crop_affine)[views]
        if not bool(known.any()):
            return None, None, None, affine
        # Older files keep K of the raw picture, which was stretched to the one that is stored.
        stretch = (self.store.info.size / torch.from_numpy(cameras.size)[views].double()).diag_embed()
        K = crop_intrinsics(F.pad(stretch, (0, 1)), torch.from_numpy(cameras.K)[views])
        R, t = torch.from_numpy(cameras.R)[views], self._metres(cameras.t)[views]
        return _or_nan(K, known), _or_nan(R, known), _or_nan(t, known), affine

    def _require_pinholes(self, cameras: StoredCameras) -> None:
        """Raise where pictures and labels are bent by a lens: K alone would show points elsewhere."""
        if not self.store.info.undistorted and cameras.distortion is not None and cameras.distortion.any():
            rule = "a file whose pictures show no distortion of the lens"
            remedy = "Preprocess the sessions again with `--undistort`."
            fail("MultiviewDataset", str(self.store.path), rule, "one with the lens left in", remedy)

    @property
    def metres(self) -> float:
        """Metres in a unit of the world.

        Raises:
            ValueError: the file tells no unit; none is guessed.
        """
        scale = self.store.info.world_scale
        if scale is None:
            rule, where = "a file that tells the unit of its world", str(self.store.path)
            remedy = "Write it into the file: `refkp multiview migrate OLD NEW --world_unit mm`."
            fail("MultiviewDataset", where, rule, "none", remedy)
        return scale

    def _metres(self, lengths: np.ndarray | None) -> Tensor:
        """Lengths of the world in metres."""
        return torch.from_numpy(np.asarray(lengths)) * self.metres

    def _pictures(self, stored: StoredSample, views: Tensor) -> Tensor:
        """uint8 [n,3,S,S]."""
        size = self.store.info.size
        pictures = []
        for view in views.tolist():
            camera = self.store.info.camera_names[view]
            where = f"{self.store.path}, {stored.session} frame {stored.frame}, {camera}"
            picture = decode_rgb(stored.jpegs[view], where)
            if picture.shape != (3, size, size):
                fail("MultiviewDataset", where, f"a picture of {size} x {size}", list(picture.shape[1:]))
            pictures.append(picture)
        return torch.stack(pictures)


def augmented(sample: MultiviewSample, spec: ViewAugmentation, generator: torch.Generator) -> MultiviewSample:
    """A sample with its views placed and coloured otherwise; what is true in the world stays."""
    if not (spec.zoom or spec.jitter):
        return sample._replace(images=augment_colours(sample.images, spec, generator))
    affine = draw_placement(len(sample.images), sample.images.shape[-1], spec, generator)
    placed = place_views(PlacedViews(sample.images, sample.keypoints, sample.visibility, sample.K), affine)
    crop = sample.crop_affine
    return sample._replace(
        images=augment_colours(placed.images, spec, generator),
        keypoints=placed.keypoints,
        visibility=placed.visibility,
        K=placed.K,
        crop_affine=None if crop is None else compose_affine(affine, crop.double()).float(),
    )


def _camera_index(store: SampleStore, name: str) -> int:
    names = store.info.camera_names
    if name not in names:
        fail("MultiviewDataset", "view", f"one of {', '.join(names)}", repr(name))
    return names.index(name)


def _or_nan(values: Tensor, known: Tensor) -> Tensor:
    """Values [m,...], NaN where `known` [m] (or of more leading axes) is false."""
    return torch.where(known.reshape(*known.shape, *[1] * (values.dim() - known.dim())), values, torch.nan)
