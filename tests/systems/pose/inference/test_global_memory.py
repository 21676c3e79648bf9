"""Global mode over 162 templates of the `base` model: what it holds at most."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from refkp._measure import peak_memory
from refkp.geometry.icosphere import cam_from_obj, icosphere_views
from refkp.systems.pose.inference.bank import TemplateBank
from refkp.systems.pose.inference.grid import PatchGrid
from refkp.systems.pose.inference.modes import Evidence, global_evidence
from refkp.systems.pose.inference.predictor import ModelPredictor
from refkp.systems.pose.inference.spec import EstimatorSpec, MatchSpec, ModeSpec
from refkp.systems.pose.inference.task import Task
from refkp.systems.pose.model.spec import VpogSpec
from refkp.systems.pose.model.vpog import Vpog
from refkp.systems.pose.views import Views

SIZE = 224
GIB = 2**30


def random_bank(model: Vpog, poses: torch.Tensor) -> TemplateBank:
    """Features of the right shape and size; their values play no part in memory."""
    rows, columns = model.grid
    count = len(poses)
    features = torch.randn(count, rows * columns, model.spec.encoder.dim).half()
    K = torch.tensor([[500.0, 0, 112], [0, 500, 112], [0, 0, 1]], dtype=torch.float64).repeat(count, 1, 1)
    return TemplateBank(features, torch.full((count, SIZE, SIZE), 500.0), K, poses)


@pytest.mark.slow
def test_global_mode_stays_below_four_gib() -> None:
    torch.manual_seed(0)
    model = Vpog(VpogSpec()).eval()
    poses = cam_from_obj(500 * icosphere_views(1))
    bank = random_bank(model, poses)
    blank = torch.ones(SIZE, SIZE)
    query = Views(torch.rand(3, SIZE, SIZE), blank.bool(), blank, bank.K[0], poses[0])
    predictor = ModelPredictor(model, bank, query)
    spec = EstimatorSpec(ModeSpec(mode="global", matching=MatchSpec(min_weight=1e-3)))
    task = Task(query, bank, PatchGrid(14, 14, 16), spec)

    def runs() -> Iterator[Evidence]:
        yield global_evidence(
            predictor, replace(task, bank=bank.select(torch.arange(32)))
        )  # loads what is loaded once
        yield global_evidence(predictor, task)

    run = runs()
    peak = peak_memory(lambda: next(run), "cpu")
    if peak is None:
        pytest.skip("this system does not count resident memory")
    weights = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    total = peak + weights + bank.num_bytes
    print(f"peak {peak / GIB:.2f} GiB + weights {weights / GIB:.2f} + bank {bank.num_bytes / GIB:.3f}")
    assert total < 4 * GIB
