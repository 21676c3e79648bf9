"""Judging a set of pictures: several objects at a time give what one after the other gives."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("cv2", reason="needs the extra `pose`")
pytest.importorskip("embreex", reason="needs the extra `pose`")
pytest.importorskip("PIL", reason="needs the extra `viz`")
pytest.importorskip("trimesh", reason="needs the extra `pose`")

from refkp.data.shapes import make_object
from refkp.systems.pose.data.dataset import PoseDataset, SampleSpec, tabulate_instances
from refkp.systems.pose.data.generator import generate_scenes
from refkp.systems.pose.data.models import ModelSet
from refkp.systems.pose.data.rendered_templates import RenderedTemplates
from refkp.systems.pose.data.shards import ShardReader
from refkp.systems.pose.data.spec import GeneratorSpec
from refkp.systems.pose.data.template_cache import TemplateCache
from refkp.systems.pose.inference import estimator
from refkp.systems.pose.inference.bank import TemplateBank
from refkp.systems.pose.inference.evaluation import RunResult, estimate_dataset
from refkp.systems.pose.inference.ground_truth import TargetPredictor
from refkp.systems.pose.model.vpog import Vpog
from refkp.systems.pose.views import Views
from tests.systems.pose.inference.small import small_model


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PoseDataset:
    """Five pictures of two objects, and their 42 templates of 32 pixels."""
    folder = tmp_path_factory.mktemp("set")
    meshes = {2: make_object("mug", seed=4), 5: make_object("blob", seed=4)}
    shards = generate_scenes(meshes, folder, GeneratorSpec(5, size=(120, 160), max_objects=2), seed=3)
    source, models = ShardReader(shards), ModelSet(folder)
    templates = TemplateCache(RenderedTemplates(models, level=0), 32)
    return PoseDataset(source, tabulate_instances(source, (2, 5), 0.3), templates, models, SampleSpec())


@pytest.fixture
def truth(monkeypatch: pytest.MonkeyPatch) -> None:
    """The truth speaks instead of the untrained model."""

    def predictor(model: Vpog, bank: TemplateBank, query: Views) -> TargetPredictor:
        shown = bank.depth > 0
        images = torch.zeros(len(shown), 3, *shown.shape[1:])
        templates = Views(images, shown, bank.depth, bank.K, bank.cam_from_obj)
        return TargetPredictor(query, templates, model.spec.encoder.patch_size)

    monkeypatch.setattr(estimator, "ModelPredictor", predictor)


def require_same(one: RunResult, other: RunResult) -> None:
    """All but the times, bit for bit."""
    assert one._replace(estimates=()) == other._replace(estimates=())
    assert len(one.estimates) == len(other.estimates)
    for first, second in zip(one.estimates, other.estimates, strict=True):
        assert torch.equal(first.R, second.R)
        assert torch.equal(first.t, second.t)
        assert first._replace(R=None, t=None, time=0) == second._replace(R=None, t=None, time=0)  # type: ignore[arg-type]


def test_the_number_of_workers_changes_nothing(dataset: PoseDataset, truth: None) -> None:
    one, *others = (estimate_dataset(small_model(), dataset, workers=workers) for workers in (1, 2, 5))
    assert len(one.estimates) >= 4
    for other in others:
        require_same(one, other)


@pytest.mark.slow
def test_the_number_of_workers_changes_nothing_about_an_untrained_model(dataset: PoseDataset) -> None:
    one, several = (estimate_dataset(small_model(), dataset, workers=workers) for workers in (1, 3))
    require_same(one, several)
    assert sum(one.failures.values()) + len(one.estimates) == len(dataset)


def test_threads_of_operators_are_as_before(dataset: PoseDataset, truth: None) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        estimate_dataset(small_model(), dataset, workers=2)
        assert torch.get_num_threads() == 3
        with pytest.raises(ValueError, match="`workers` must be at least 1"):
            estimate_dataset(small_model(), dataset, workers=0)
    finally:
        torch.set_num_threads(before)


def test_an_error_of_a_worker_is_raised(dataset: PoseDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(model: Vpog, bank: TemplateBank, query: Views) -> None:
        raise ValueError("broken")

    monkeypatch.setattr(estimator, "ModelPredictor", broken)
    with pytest.raises(ValueError, match="broken"):
        estimate_dataset(small_model(), dataset, workers=2)
