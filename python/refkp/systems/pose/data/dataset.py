"""One sample for each visible object of each picture: its crop, and templates that do and do not match.

Every random draw of a sample follows from (seed, epoch, number of the sample), so samples are the same in
whatever process, on whatever rank. Source: spec pose 2.3, 2.5 and 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from refkp._checks import fail
from refkp.systems.pose.crops import Box, crop_views
from refkp.systems.pose.data.augmentation import QueryAugmentation, augment_query
from refkp.systems.pose.data.models import ModelSet
from refkp.systems.pose.data.sources import SceneSource
from refkp.systems.pose.data.template_cache import TemplateCache
from refkp.systems.pose.scene import Instance, Scene
from refkp.systems.pose.templates.selection import select_templates
from refkp.systems.pose.units import check_template_distance
from refkp.systems.pose.views import PoseBatch, Views
from refkp.training.sampling import SampleIndex, sample_generator


@dataclass(frozen=True)
class SampleSpec:
    """How samples are made.

    Args:
        num_positives: templates near the query's view: the nearest, and those nearest to it.
        num_negatives: templates that see another side.
        min_negative_angle_deg: between the query and a negative.
        metric: what that angle is: "view" between directions of view, "so3" between orientations.
        min_visible: instances that show no more than this part of themselves are left out.
        box_jitter: in training, boxes are moved and scaled by up to this part of their size.
    """

    num_positives: int = 4
    num_negatives: int = 2
    min_negative_angle_deg: float = 90.0
    metric: Literal["view", "so3"] = "view"
    min_visible: float = 0.1
    box_jitter: float = 0.1

    def __post_init__(self) -> None:
        if self.num_positives < 1 or self.num_negatives < 0:
            got = (self.num_positives, self.num_negatives)
            fail("SampleSpec", "num_positives, num_negatives", "at least 1 and at least 0", got)
        if not (0 <= self.min_visible < 1 and 0 <= self.box_jitter < 0.5):
            got_parts = (self.min_visible, self.box_jitter)
            fail("SampleSpec", "min_visible, box_jitter", "in [0,1) and in [0,0.5)", got_parts)


class InstanceTable(NamedTuple):
    """The samples of a data set."""

    scene: Tensor  # int64 [n], number in the source
    instance: Tensor  # int64 [n], number in the scene
    obj_id: Tensor  # int64 [n]
    num_hidden: int  # instances left out because too little of them is visible


class PoseSample(NamedTuple):
    """One object in a picture, without the leading axis of a batch."""

    query: Views
    templates: Views  # leading axis [S], positives first
    template_index: Tensor  # int64 [S]
    is_positive: Tensor  # bool [S]
    ref_direction: Tensor  # float32 [3]
    obj_id: int
    diameter: float
    key: str


class PoseDataset(Dataset[PoseSample]):
    """Samples of the instances of a source.

    Args:
        source: the pictures.
        table: which instances, from `tabulate_instances`.
        templates: of all their objects; gives the size of the crops.
        models: tells the diameters.
        spec: how samples are made.
        augmentation: of the query's colours; None for none.
        training: draw boxes and negatives anew in each epoch; else boxes stay and the draws are those of
            epoch 0.
        seed: of every draw.
    """

    def __init__(
        self,
        source: SceneSource,
        table: InstanceTable,
        templates: TemplateCache,
        models: ModelSet,
        spec: SampleSpec,
        *,
        augmentation: QueryAugmentation | None = None,
        training: bool = False,
        seed: int = 0,
    ) -> None:
        self.source, self.table, self.templates = source, table, templates
        self.models, self.spec = models, spec
        self.augmentation, self.training, self.seed = augmentation, training, seed

    def __len__(self) -> int:
        return len(self.table.scene)

    def __getitem__(self, index: SampleIndex | int) -> PoseSample:
        """A sample, with the draws of its epoch (0 for a plain number)."""
        epoch, number = (index.epoch, index.number) if isinstance(index, SampleIndex) else (0, index)
        generator = sample_generator(self.seed, SampleIndex(epoch if self.training else 0, number))
        scene = self.source[int(self.table.scene[number])]
        place = int(self.table.instance[number])
        instance = scene.instances[place]
        templates, diameter = self._object(instance.obj_id)
        selection = select_templates(
            instance.cam_from_obj[None, :3, :3],
            templates[:, :3, :3],
            num_positives=self.spec.num_positives,
            num_negatives=self.spec.num_negatives,
            metric=self.spec.metric,
            min_negative_angle_deg=self.spec.min_negative_angle_deg,
            generator=generator,
        )
        chosen = torch.cat([selection.positives[0], selection.negatives[0]])
        return PoseSample(
            self._query(scene, instance, generator),
            self.templates.views(instance.obj_id, chosen),
            chosen,
            torch.arange(len(chosen)) < self.spec.num_positives,
            selection.ref_direction[0].float(),
            instance.obj_id,
            diameter,
            f"{scene.key}/{place}",
        )

    def _object(self, obj_id: int) -> tuple[Tensor, float]:
        """Poses of its templates and its diameter, which must be in one unit."""
        poses, diameter = self.templates.store.poses(obj_id), self.models.info(obj_id).diameter
        check_template_distance(poses, diameter, self.models.centre(obj_id))
        return poses, diameter

    def _query(self, scene: Scene, instance: Instance, generator: torch.Generator) -> Views:
        box = instance.box
        if self.training:
            box = self._jittered(instance, generator)
        rgb = scene.rgb
        if self.augmentation is not None:
            rgb = _augmented(rgb, box, self.augmentation, generator)
        mask, pose = instance.mask, instance.cam_from_obj
        return crop_views(rgb, mask, scene.depth, scene.K, pose, box, self.templates.size)

    def _jittered(self, instance: Instance, generator: torch.Generator) -> Box:
        """A jittered box; the plain one where the other would show nothing of a thin mask."""
        x0, y0, x1, y1 = box = jittered_box(instance.box, self.spec.box_jitter, generator)
        shown = instance.mask[max(0, y0) : max(0, y1), max(0, x0) : max(0, x1)]
        return box if bool(shown.any()) else instance.box


def tabulate_instances(
    source: SceneSource, templates: Sequence[int], min_visible: float, scenes: Sequence[int] | None = None
) -> InstanceTable:
    """The instances of a source that show more than `min_visible` of themselves.

    Args:
        source: the pictures.
        templates: the objects that there are templates of.
        min_visible: part of an object, in [0,1].
        scenes: numbers of the pictures to look at; None: all.

    Raises:
        ValueError: no such instance, or one of an object without templates.
    """
    rows, num_hidden = [], 0
    for scene in range(len(source)) if scenes is None else scenes:
        for place, (obj_id, visible) in enumerate(source.annotations(scene)):
            if visible > min_visible:
                rows.append((scene, place, obj_id))
            else:
                num_hidden += 1
    if not rows:
        got = f"{num_hidden} instances, all hidden"
        fail("tabulate_instances", "source", f"one with an object visible by more than {min_visible:g}", got)
    missing = sorted({obj_id for _, _, obj_id in rows} - set(templates))
    if missing:
        remedy = "Render them with `refkp pose render-templates`."
        fail("tabulate_instances", "templates", "of every object", f"none of {missing[:5]}", remedy)
    scene_of, instance, obj_ids = torch.tensor(rows).T.contiguous()
    return InstanceTable(scene_of, instance, obj_ids, num_hidden)


def jittered_box(box: Box, jitter: float, generator: torch.Generator) -> Box:
    """The box moved along each axis by up to `jitter` of that side, and scaled by up to 1 +- `jitter`."""
    draws = (2 * torch.rand(3, generator=generator, dtype=torch.float64) - 1) * jitter
    x0, y0, x1, y1 = box
    width, height = x1 - x0, y1 - y0
    x, y = (x0 + x1) / 2 + width * float(draws[0]), (y0 + y1) / 2 + height * float(draws[1])
    half_width, half_height = (side / 2 * (1 + float(draws[2])) for side in (width, height))
    left, top = round(x - half_width), round(y - half_height)
    return left, top, max(left + 1, round(x + half_width)), max(top + 1, round(y + half_height))


def collate(samples: Sequence[PoseSample]) -> PoseBatch:
    """Samples as a batch; all with the same number of templates."""
    queries, templates, index, positive, direction, obj_id, diameter, keys = zip(*samples, strict=True)
    return PoseBatch(
        _stacked(queries),
        _stacked(templates),
        torch.stack(index),
        torch.stack(positive),
        torch.stack(direction),
        torch.tensor(obj_id),
        torch.tensor(diameter, dtype=torch.float32),
        tuple(keys),
    )


def _stacked(views: Sequence[Views]) -> Views:
    return Views(*(torch.stack(parts) for parts in zip(*views, strict=True)))


def _augmented(rgb: Tensor, box: Box, spec: QueryAugmentation, generator: torch.Generator) -> Tensor:
    """A copy of the picture [3,H,W] with the part inside the box changed; the scene's own stays."""
    height, width = rgb.shape[1:]
    part = (
        slice(None),
        slice(max(0, box[1]), min(height, box[3])),
        slice(max(0, box[0]), min(width, box[2])),
    )
    if not rgb[part].numel():
        return rgb
    changed = rgb.clone()
    changed[part] = (255 * augment_query(rgb[part] / 255, spec, generator)).round().to(torch.uint8)
    return changed
