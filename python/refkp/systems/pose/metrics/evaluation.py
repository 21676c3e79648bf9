"""Scores of a set of estimates on pictures with known poses: the localisation task of the BOP challenge."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from refkp._checks import fail
from refkp.data.meshes import Mesh
from refkp.data.rendering import MeshRenderer
from refkp.systems.pose.metrics.csv import Estimate
from refkp.systems.pose.metrics.errors import mspd, mssd
from refkp.systems.pose.metrics.pose_errors import pose_errors
from refkp.systems.pose.metrics.recall import THRESHOLDS, match_estimates, mspd_thresholds, mssd_thresholds
from refkp.systems.pose.metrics.spec import EvaluationSpec
from refkp.systems.pose.metrics.visibility import VSD_TAUS, distance_map, visibility_tolerance, vsd
from refkp.systems.pose.scene import Instance, Scene
from refkp.systems.pose.units import check_units

#: (scene, image, object) -> how many instances are to be found.
Targets = Mapping[tuple[int, int, int], int]


class ObjectModel(NamedTuple):
    """What the metrics need of an object."""

    mesh: Mesh
    diameter: float  # millimetres
    symmetries: Tensor  # [m,4,4] of `symmetry_transforms`


class Found(NamedTuple):
    """One target, and the estimate that belongs to it."""

    scene_id: int
    image_id: int
    obj_id: int
    estimated: bool  # False: there was no estimate left for it, and the errors are infinite
    rotation_deg: float  # under the object's symmetries
    translation: float  # millimetres, under the object's symmetries
    plain_rotation_deg: float
    plain_translation: float


class Recalls(NamedTuple):
    """Average recalls over the thresholds of the challenge, in [0,1]."""

    num_targets: int
    vsd: float  # NaN where there is no depth to judge by
    mssd: float
    mspd: float

    @property
    def mean(self) -> float:
        """AR, the mean of the three; NaN without VSD."""
        return fmean((self.vsd, self.mssd, self.mspd))


class Evaluation(NamedTuple):
    """The scores of all targets, of each object's, and the errors of each target."""

    total: Recalls
    objects: Mapping[int, Recalls]
    found: tuple[Found, ...]


class _Tally(NamedTuple):
    """Targets found at each threshold."""

    num_targets: int
    vsd: Tensor | None  # [100]: 10 misalignment tolerances of 10 thresholds
    mssd: Tensor  # [10]
    mspd: Tensor  # [10]


def evaluate_estimates(
    scenes: Iterable[Scene],
    estimates: Sequence[Estimate],
    models: Mapping[int, ObjectModel],
    *,
    targets: Targets | None = None,
    spec: EvaluationSpec = EvaluationSpec(),  # noqa: B008 (frozen)
) -> Evaluation:
    """Recalls and errors of the localisation task.

    In each picture the best-scored estimates of an object count, as many as there are instances to be found, and
    as many of its most visible instances do. The recall of an error function is the mean over its thresholds of
    the share of targets found.

    Args:
        scenes: the pictures with their truth.
        estimates: in any order; those of other pictures or objects are left aside.
        models: every object that occurs.
        targets: what is to be found; None: every instance that is visible enough.
        spec: the rules.

    Returns:
        Evaluation. VSD is NaN if a picture with targets has no depth.

    Raises:
        ValueError: no target at all, an unknown object, or more targets than instances.

    Source: spec pose 6.5.
    """
    given: dict[tuple[int, int, int], list[Estimate]] = defaultdict(list)
    for item in estimates:
        given[item.scene_id, item.image_id, item.obj_id].append(item)
    renderers = {obj_id: MeshRenderer([model.mesh]) for obj_id, model in models.items()}
    tallies: dict[int, list[_Tally]] = defaultdict(list)
    found: list[Found] = []
    for scene in scenes:
        for obj_id, truths, count in _targets_of(scene, targets, spec.min_visible):
            if obj_id not in models:
                fail(
                    "evaluate_estimates",
                    "models",
                    f"with object {obj_id}, which the pictures show",
                    [*models],
                )
            key = (*scene.key, obj_id)
            for truth in truths:
                check_units(torch.from_numpy(models[obj_id].mesh.vertices), truth.cam_from_obj)
            best = sorted(given[key], key=lambda item: -item.score)[:count]
            case = _Case(scene, truths, best, count, models[obj_id])
            tallies[obj_id].append(_tally(case, renderers[obj_id], spec))
            found += _errors(case, obj_id)
    if not tallies:
        fail("evaluate_estimates", "scenes", "pictures with at least one target", "none")
    objects = {obj_id: _recalls(rows) for obj_id, rows in sorted(tallies.items())}
    return Evaluation(_recalls([row for rows in tallies.values() for row in rows]), objects, tuple(found))


class _Case(NamedTuple):
    """One object in one picture."""

    scene: Scene
    truths: tuple[Instance, ...]  # G
    estimates: list[Estimate]  # E <= wanted, best first
    wanted: int  # instances to be found
    model: ObjectModel

    @property
    def valid(self) -> Tensor:
        """bool [G], the `wanted` most visible."""
        order = sorted(range(len(self.truths)), key=lambda index: -self.truths[index].visible_fraction)
        chosen = order[: self.wanted]
        return torch.tensor([index in chosen for index in range(len(self.truths))])

    @property
    def true_poses(self) -> Tensor:
        return torch.stack([truth.cam_from_obj.double() for truth in self.truths])

    @property
    def poses(self) -> Tensor:
        poses = [estimate.cam_from_obj for estimate in self.estimates]
        return torch.stack(poses) if poses else torch.zeros(0, 4, 4, dtype=torch.float64)

    def pairs(self) -> tuple[Tensor, Tensor]:
        """Every estimate with every truth: two [E*G,4,4]."""
        shape = (len(self.estimates), len(self.truths), 4, 4)
        estimated = self.poses[:, None].expand(shape).flatten(0, 1)
        return estimated, self.true_poses[None].expand(shape).flatten(0, 1)

    def mssd(self) -> Tensor:
        """[E,G]."""
        error = mssd(*self.pairs(), torch.from_numpy(self.model.mesh.vertices), self.model.symmetries)
        return error.view(len(self.estimates), len(self.truths))

    def mspd(self) -> Tensor:
        """[E,G]."""
        points = torch.from_numpy(self.model.mesh.vertices)
        error = mspd(*self.pairs(), self.scene.K, points, self.model.symmetries)
        return error.view(len(self.estimates), len(self.truths))


def _targets_of(
    scene: Scene, targets: Targets | None, min_visible: float
) -> Iterator[tuple[int, tuple[Instance, ...], int]]:
    """(object, its instances, how many are to be found) for the objects of a picture with something to find."""
    instances: dict[int, list[Instance]] = defaultdict(list)
    for instance in scene.instances:
        instances[instance.obj_id].append(instance)
    if targets is None:
        wanted = {
            obj_id: sum(truth.visible_fraction > min_visible for truth in truths)
            for obj_id, truths in instances.items()
        }
    else:
        wanted = {key[2]: count for key, count in targets.items() if key[:2] == scene.key}
    for obj_id, count in sorted(wanted.items()):
        truths = instances[obj_id]
        if count > len(truths):
            got = f"{count} of object {obj_id} in picture {scene.key}, which has {len(truths)}"
            fail("evaluate_estimates", "targets", "at most the instances that are there", got)
        if count:
            yield obj_id, tuple(truths), count


def _tally(case: _Case, renderer: MeshRenderer, spec: EvaluationSpec) -> _Tally:
    valid = case.valid
    width = case.scene.rgb.shape[-1]

    def hits(errors: Tensor, thresholds: Tensor) -> Tensor:
        return (match_estimates(errors, thresholds, valid) >= 0).sum(0)

    surface = None
    if spec.with_vsd and case.scene.depth is not None:
        errors = _vsd_errors(case, case.scene.depth, renderer, visibility_tolerance(spec.dataset))
        surface = hits(
            errors.repeat_interleave(len(THRESHOLDS), -1),
            torch.tensor(THRESHOLDS, dtype=torch.float64).repeat(len(VSD_TAUS)),
        )
    return _Tally(
        case.wanted,
        surface,
        hits(case.mssd(), mssd_thresholds(case.model.diameter)),
        hits(case.mspd(), mspd_thresholds(width)),
    )


def _vsd_errors(case: _Case, depth: Tensor, renderer: MeshRenderer, tolerance: float) -> Tensor:
    """[E,G,10]."""
    K, size = case.scene.K, (depth.shape[0], depth.shape[1])

    def distances(pose: Tensor) -> Tensor:
        seen: np.ndarray = renderer.render_depth(pose[None].numpy(), K.numpy(), size)
        return distance_map(torch.from_numpy(seen), K)

    # An unknown depth may be 0, NaN or infinite in a file; here it is 0.
    scene = distance_map(torch.where(depth.isfinite() & (depth > 0), depth, 0), K)
    errors = torch.ones(len(case.estimates), len(case.truths), len(VSD_TAUS), dtype=torch.float64)
    truths = [distances(pose) for pose in case.true_poses]
    for e, pose in enumerate(case.poses):
        shown = distances(pose)
        for g, truth in enumerate(truths):
            errors[e, g] = vsd(shown, truth, scene, case.model.diameter, tolerance=tolerance)
    return errors


def _errors(case: _Case, obj_id: int) -> Iterator[Found]:
    """Every target with the estimate that is nearest to it, the best-scored choosing first."""
    finder = match_estimates(case.mssd(), torch.tensor([torch.inf]), case.valid)[:, 0].tolist()
    where = (*case.scene.key, obj_id)
    for truth, is_target, estimate in zip(case.true_poses, case.valid.tolist(), finder, strict=True):
        if not is_target:
            continue
        if estimate < 0:
            yield Found(*where, False, *[math.inf] * 4)
            continue
        pair = (case.poses[estimate][None], truth[None])
        fair, plain = pose_errors(*pair, case.model.symmetries), pose_errors(*pair)
        yield Found(*where, True, *(value.item() for value in (*fair, *plain)))


def _recalls(rows: Sequence[_Tally]) -> Recalls:
    targets = sum(row.num_targets for row in rows)

    def average(hits: Sequence[Tensor]) -> float:
        return (torch.stack(list(hits)).sum(0).double() / targets).mean().item()

    surface = [row.vsd for row in rows if row.vsd is not None]
    complete = len(surface) == len(rows)
    return Recalls(
        targets,
        average(surface) if complete else math.nan,
        average([row.mssd for row in rows]),
        average([row.mspd for row in rows]),
    )
