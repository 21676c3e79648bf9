"""Whole evaluations of pictures whose answers are known: perfect, missing, doubled, shifted, without depth."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("embreex", reason="needs the extra `pose`")
pytest.importorskip("PIL", reason="needs the extra `viz`")
pytest.importorskip("trimesh", reason="needs the extra `pose`")

from refkp.data.meshes import Mesh
from refkp.data.rendering import MeshRenderer
from refkp.systems.pose.metrics.csv import Estimate
from refkp.systems.pose.metrics.evaluation import ObjectModel, evaluate_estimates
from refkp.systems.pose.metrics.spec import EvaluationSpec
from refkp.systems.pose.scene import Instance, PictureKey, Scene
from refkp.systems.pose.symmetry import symmetry_transforms

SIZE = (48, 64)
K = torch.tensor([[60.0, 0, 32], [0, 60, 24], [0, 0, 1]], dtype=torch.float64)
SIDE = 60.0


def cube() -> Mesh:
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * SIDE / 2
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = [face for a, b, c, d in quads for face in ((a, b, c), (a, c, d))]
    return Mesh(corners.astype(np.float64), np.array(faces, dtype=np.int64))


MODEL = ObjectModel(cube(), SIDE * 3**0.5, symmetry_transforms())


def pose(x: float, z: float = 300.0) -> Tensor:
    result = torch.eye(4, dtype=torch.float64)
    result[:3, 3] = torch.tensor([x, 0.0, z])
    return result


def scene(places: tuple[float, ...] = (-70.0, 70.0), visible: tuple[float, ...] = (1.0, 0.9)) -> Scene:
    renderer = MeshRenderer([cube()] * len(places))
    shown = renderer.render(np.stack([pose(x).numpy() for x in places]), K.numpy(), SIZE)
    instances = tuple(
        Instance(7, pose(x), torch.from_numpy(shown.instance == index), (0, 0, 1, 1), fraction)
        for index, (x, fraction) in enumerate(zip(places, visible, strict=True))
    )
    rgb = torch.from_numpy(shown.rgb).permute(2, 0, 1)
    return Scene(PictureKey(1, 2), rgb, torch.from_numpy(shown.depth), K, instances)


def estimate(x: float, score: float = 1.0, z: float = 300.0) -> Estimate:
    return Estimate(1, 2, 7, score, torch.eye(3, dtype=torch.float64), pose(x, z)[:3, 3], -1.0)


def test_perfect_estimates() -> None:
    got = evaluate_estimates([scene()], [estimate(70.0, 0.2), estimate(-70.0, 0.1)], {7: MODEL})
    assert got.total == (2, 1.0, 1.0, 1.0)
    assert got.total.mean == 1.0
    assert got.objects == {7: got.total}
    assert [item.translation for item in got.found] == [0.0, 0.0]


def test_a_missing_estimate_is_half_the_recall() -> None:
    got = evaluate_estimates([scene()], [estimate(70.0)], {7: MODEL})
    assert got.total[1:] == (0.5, 0.5, 0.5)
    assert [item.estimated for item in got.found] == [False, True]
    assert math.isinf(got.found[0].rotation_deg)


def test_two_estimates_of_one_instance_are_one_hit() -> None:
    got = evaluate_estimates([scene()], [estimate(70.0, 0.9), estimate(70.0, 0.8)], {7: MODEL})
    assert got.total.mssd == 0.5


def test_only_the_best_scored_count() -> None:
    """Three estimates for two instances: the third, which is right, comes too late."""
    rows = [estimate(500.0, 0.9), estimate(-70.0, 0.8), estimate(70.0, 0.1)]
    assert evaluate_estimates([scene()], rows, {7: MODEL}).total.mssd == 0.5


def test_only_the_most_visible_instances_count() -> None:
    got = evaluate_estimates([scene()], [estimate(-70.0)], {7: MODEL}, targets={(1, 2, 7): 1})
    assert got.total == (1, 1.0, 1.0, 1.0)
    hidden = scene(visible=(0.05, 0.9))
    assert evaluate_estimates([hidden], [estimate(70.0)], {7: MODEL}).total == (1, 1.0, 1.0, 1.0)


def test_an_object_at_the_limit_of_visibility_is_no_target() -> None:
    """As among the samples of a run: else it would be sought and never estimated."""
    limit = scene(visible=(0.1, 0.9))
    assert evaluate_estimates([limit], [estimate(70.0)], {7: MODEL}).total.num_targets == 1


def test_a_target_that_the_picture_does_not_have_is_an_error() -> None:
    with pytest.raises(ValueError, match="1 of object 8 in picture 000001_000002, which has 0"):
        evaluate_estimates([scene()], [], {7: MODEL}, targets={(1, 2, 7): 1, (1, 2, 8): 1, (1, 3, 8): 1})


def test_a_shift_counts_against_each_threshold() -> None:
    """26 mm along the axis with a diameter of 104 mm: right from 0.3 of the diameter on."""
    got = evaluate_estimates([scene((0.0,), (1.0,))], [estimate(26.0)], {7: MODEL})
    assert got.total.mssd == 0.5  # 0.3 to 0.5; 0.25 is not above 26 / 103.9
    assert got.found[0].translation == pytest.approx(26.0)
    # 26 mm at 270 mm, the near face, are 5.78 px; thresholds of this width are 0.5, 1.0, ... 5.0 px.
    assert got.total.mspd == 0.0


def test_an_estimate_too_far_away_fails_by_depth() -> None:
    far = evaluate_estimates([scene((0.0,), (1.0,))], [estimate(0.0, z=340.0)], {7: MODEL})
    assert 0 < far.total.vsd < 0.5


def test_without_depth_there_is_no_vsd() -> None:
    blind = scene()._replace(depth=None)
    got = evaluate_estimates([blind], [estimate(70.0)], {7: MODEL})
    assert math.isnan(got.total.vsd)
    assert math.isnan(got.total.mean)
    assert got.total.mssd == 0.5
    skipped = evaluate_estimates([scene()], [estimate(70.0)], {7: MODEL}, spec=EvaluationSpec(with_vsd=False))
    assert math.isnan(skipped.total.vsd)


def test_nan_depth_is_unknown() -> None:
    picture = scene()
    assert picture.depth is not None
    picture.depth[:, :10] = torch.nan
    got = evaluate_estimates([picture], [estimate(70.0, 0.2), estimate(-70.0, 0.1)], {7: MODEL})
    assert got.total.vsd == 1.0


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="at least one target"):
        evaluate_estimates([], [], {7: MODEL})
    with pytest.raises(ValueError, match="with object 7"):
        evaluate_estimates([scene()], [], {8: MODEL})
    with pytest.raises(ValueError, match="at most the instances"):
        evaluate_estimates([scene()], [], {7: MODEL}, targets={(1, 2, 7): 3})


def test_poses_in_metres_are_an_error() -> None:
    true = scene()
    metres = [item._replace(cam_from_obj=pose(0.07, 0.3)) for item in true.instances]
    with pytest.raises(ValueError, match=r"got 0\.3 mm\. Times 1000 it would be"):
        evaluate_estimates([true._replace(instances=tuple(metres))], [], {7: MODEL})
