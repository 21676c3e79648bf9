"""Samples: exact crops, the right templates, the same draws in any process."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("embreex", reason="needs the extra `pose`")
pytest.importorskip("rich", reason="needs the extra `train`")
pytest.importorskip("PIL", reason="needs the extra `viz`")
pytest.importorskip("cv2", reason="needs the extra `pose`")
pytest.importorskip("trimesh", reason="needs the extra `pose`")

from refkp.systems.pose.data.augmentation import QueryAugmentation
from refkp.systems.pose.data.dataset import (
    InstanceTable,
    PoseDataset,
    SampleSpec,
    collate,
    jittered_box,
    tabulate_instances,
)
from refkp.systems.pose.data.models import ModelSet
from refkp.systems.pose.data.records import Annotation
from refkp.systems.pose.data.shards import ShardReader
from refkp.systems.pose.data.template_cache import TemplateCache
from refkp.systems.pose.scene import PictureKey, Scene
from refkp.systems.pose.templates.store import TemplateStore
from refkp.systems.pose.views import Views
from refkp.training.sampling import SampleIndex
from tests.systems.pose.data.scenes import make_scene

SIZE = 32


def dataset(root: Path, **options: object) -> PoseDataset:
    source = ShardReader(root / "shards")
    templates = TemplateCache(TemplateStore(root / "templates"), SIZE)
    table = tabulate_instances(source, templates.store.obj_ids, 0.1)
    options = {"spec": SampleSpec(3, 2), **options}
    return PoseDataset(source, table, templates, ModelSet(root), **options)  # type: ignore[arg-type]


def assert_equal(a: object, b: object) -> None:
    """Samples and batches are nested tuples of tensors and plain values.

    Colours may differ by one step of a byte: the last bit of a float32 product depends on where in memory it lies.
    """
    if isinstance(a, tuple) and isinstance(b, tuple):
        for x, y in zip(a, b, strict=True):
            assert_equal(x, y)
    elif isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        torch.testing.assert_close(a, b, rtol=0, atol=1.01 / 255 if a.dtype == torch.float32 else 0)
    else:
        assert a == b


def test_a_sample_shows_its_instance(pose_root: Path) -> None:
    """Every pixel of the crop has the depth of the picture's pixel that K leads to."""
    data = dataset(pose_root)
    for number in range(len(data)):
        sample = data[number]
        scene = data.source[int(data.table.scene[number])]
        instance = scene.instances[int(data.table.instance[number])]
        assert scene.depth is not None
        assert sample.obj_id == instance.obj_id
        assert torch.equal(sample.query.cam_from_obj, instance.cam_from_obj)
        rows, columns = sample.query.masks.nonzero().T
        centres = torch.stack([columns + 0.5, rows + 0.5, torch.ones(len(rows))]).double()
        x, y, _ = scene.K @ torch.linalg.inv(sample.query.K) @ centres
        at = y.floor().long(), x.floor().long()
        assert bool(instance.mask[at].all())
        assert torch.equal(sample.query.depth[rows, columns], scene.depth[at])
        assert not bool(sample.query.images[:, ~sample.query.masks].any())


def test_templates_of_another_unit_are_an_error(pose_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As those of a published set read with the wrong `scale_factor`."""
    data = dataset(pose_root)
    poses = {obj_id: data.templates.store.poses(obj_id) for obj_id in data.templates.store.obj_ids}
    for pose in poses.values():
        pose[:, :3, 3] *= 10
    monkeypatch.setattr(data.templates.store, "poses", poses.__getitem__)
    with pytest.raises(ValueError, match="Check `scale_factor`"):
        data[0]


def test_templates_are_near_and_far_from_the_query(pose_root: Path) -> None:
    sample = dataset(pose_root)[0]
    assert sample.is_positive.tolist() == [True] * 3 + [False] * 2
    assert len(set(sample.template_index.tolist())) == 5
    query, templates = -sample.query.cam_from_obj[2, :3], -sample.templates.cam_from_obj[:, 2, :3]
    angles = torch.rad2deg(torch.acos((templates @ query).clamp(-1, 1)))
    assert float(angles[0]) < 25
    assert float(angles[3:].min()) >= 90
    torch.testing.assert_close(sample.ref_direction, templates[0].float())
    assert sample.diameter == pytest.approx(ModelSet(pose_root).mesh(sample.obj_id).diameter)


def test_draws_follow_from_seed_epoch_and_number(pose_root: Path) -> None:
    options = {"training": True, "augmentation": QueryAugmentation(1.0)}
    data = dataset(pose_root, **options)
    a, b = data[SampleIndex(1, 2)], dataset(pose_root, **options)[SampleIndex(1, 2)]
    assert_equal(a, b)
    for other in (data[SampleIndex(2, 2)], dataset(pose_root, **options, seed=1)[SampleIndex(1, 2)]):
        assert other.key == a.key
        assert not torch.equal(other.query.images, a.query.images)
        assert not torch.equal(other.query.K, a.query.K)
    held_out = dataset(pose_root)
    assert_equal(held_out[SampleIndex(5, 2)], held_out[2])


def test_augmentation_leaves_all_but_colours(pose_root: Path) -> None:
    plain = dataset(pose_root)[1].query
    data = dataset(pose_root, augmentation=QueryAugmentation(1.0), seed=3)
    changed = data[1].query
    assert not torch.equal(changed.images, plain.images)
    assert_equal(changed[1:], plain[1:])
    assert not bool(changed.images[:, ~changed.masks].any())
    assert_equal(data[1].query, changed)  # the picture in memory has not changed


def test_each_instance_of_an_object_has_its_own_mask(pose_root: Path) -> None:
    """Two instances of one object in a picture; neither touches the scene that both come from."""
    scene = make_scene()._replace(key=PictureKey(1, 0))
    instances = tuple(instance._replace(obj_id=1) for instance in scene.instances)
    scenes = _Scenes([scene._replace(instances=instances)])
    data = dataset(pose_root)
    table = tabulate_instances(scenes, [1], 0.1)
    assert table.instance.tolist() == [0, 1]
    data = PoseDataset(scenes, table, data.templates, data.models, data.spec)
    keys = [data[number].key for number in (0, 1, 0)]
    assert keys == ["000001_000000/0", "000001_000000/1", "000001_000000/0"]
    for number, instance in enumerate(instances):
        assert torch.equal(data[number].query.cam_from_obj, instance.cam_from_obj)
        assert abs(float(data[number].query.masks.float().mean()) - 0.8 * _share(instance.box)) < 0.1


def _share(box: tuple[int, int, int, int]) -> float:
    """The part of a square crop that a box fills."""
    width, height = box[2] - box[0], box[3] - box[1]
    return min(width, height) / max(width, height)


class _Scenes:
    """Scenes in memory."""

    def __init__(self, scenes: list[Scene]) -> None:
        self.scenes = scenes
        self.keys = [scene.key for scene in scenes]

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> Scene:
        return self.scenes[index]

    def annotations(self, index: int) -> tuple[Annotation, ...]:
        return tuple(Annotation(item.obj_id, item.visible_fraction) for item in self.scenes[index].instances)


def test_hidden_instances_are_counted_and_objects_without_templates_named() -> None:
    scenes = _Scenes([make_scene()])
    table = tabulate_instances(scenes, [7], 0.6)
    assert (len(table.scene), table.num_hidden) == (1, 1)
    with pytest.raises(
        ValueError, match=r"got none of \[7\]. Render them with `refkp pose render-templates`"
    ):
        tabulate_instances(scenes, [1], 0.1)
    with pytest.raises(ValueError, match="2 instances, all hidden"):
        tabulate_instances(scenes, [7], 0.9)


def test_a_batch_has_the_promised_shapes(pose_root: Path) -> None:
    data = dataset(pose_root)
    batch = collate([data[number] for number in range(3)])
    assert batch.query.images.shape == (3, 3, SIZE, SIZE)
    assert batch.templates.depth.shape == (3, 5, SIZE, SIZE)
    assert batch.templates.cam_from_obj.dtype == batch.query.K.dtype == torch.float64
    assert batch.template_index.shape == batch.is_positive.shape == (3, 5)
    assert batch.ref_direction.dtype == batch.diameter.dtype == torch.float32
    assert batch.obj_id.tolist() == [data[number].obj_id for number in range(3)]


def test_cached_templates_are_those_of_the_store(pose_root: Path) -> None:
    store, index = TemplateStore(pose_root / "templates"), torch.tensor([7, 0, 41, 7])
    want = store.views(2, index, SIZE)
    one_view = 6 * SIZE**2 + 4 + 8 * (9 + 16)
    for views_kept, budget in [(3, 1 << 20), (1, one_view), (0, 0)]:
        cache = TemplateCache(store, SIZE, budget)
        for _ in range(2):
            _assert_close(cache.views(2, index), want)
            assert cache.num_bytes == views_kept * one_view


def _assert_close(got: Views, want: Views) -> None:
    """Up to the rounding in memory: colours to bytes, depth to 0.06 mm."""
    torch.testing.assert_close(got.images, want.images, rtol=0, atol=0.5 / 255 + 1e-6)
    torch.testing.assert_close(got.depth, want.depth, rtol=0, atol=0.06)
    assert torch.equal(got.depth > 0, want.depth > 0)
    assert_equal((got.masks, got.K, got.cam_from_obj), (want.masks, want.K, want.cam_from_obj))


def test_the_cache_keeps_what_was_used_last(pose_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, read = TemplateStore(pose_root / "templates"), []
    views = store.views
    monkeypatch.setattr(
        store, "views", lambda obj_id, index, size: read.extend(index.tolist()) or views(obj_id, index, size)
    )
    cache = TemplateCache(store, SIZE, 2 * (6 * SIZE**2 + 4 + 8 * (9 + 16)))
    for number in (0, 1, 0, 2, 0, 1):
        cache.views(1, torch.tensor([number]))
    assert read == [0, 1, 2, 1]


def test_boxes_stay_within_the_jitter() -> None:
    generator = torch.Generator().manual_seed(0)
    boxes = torch.tensor([jittered_box((100, 200, 300, 300), 0.1, generator) for _ in range(500)]).double()
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2 - torch.tensor([200.0, 250.0])
    side = boxes[:, 2:] - boxes[:, :2]
    assert 17 < float(middle[:, 0].abs().max()) <= 20.5
    assert 8 < float(middle[:, 1].abs().max()) <= 10.5
    assert 179 <= float(side[:, 0].min()) < 185
    assert 215 < float(side[:, 0].max()) <= 221
    assert jittered_box((3, 4, 5, 6), 0.0, generator) == (3, 4, 5, 6)


def test_a_jittered_box_never_loses_the_object(pose_root: Path) -> None:
    """A mask of two far corners: most moved boxes would show neither."""
    mask = torch.zeros(24, 32, dtype=torch.bool)
    mask[2, 3] = mask[20, 28] = True
    scene = make_scene()
    instance = scene.instances[0]._replace(obj_id=1, mask=mask, box=(3, 2, 29, 21))
    data = dataset(pose_root)
    table = InstanceTable(torch.tensor([0]), torch.tensor([0]), torch.tensor([1]), 0)
    scenes, spec = _Scenes([scene._replace(instances=(instance,))]), SampleSpec(1, 0, box_jitter=0.4)
    moved = PoseDataset(scenes, table, data.templates, data.models, spec, training=True)
    for epoch in range(40):
        assert bool(moved[SampleIndex(epoch, 0)].query.masks.any())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_positives": 0}, "at least 1 and at least 0"),
        ({"min_visible": 1.0}, r"in \[0,1\)"),
        ({"box_jitter": 0.6}, r"in \[0,0.5\)"),
    ],
)
def test_specs_are_checked(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SampleSpec(**options)
