"""The blind guess has the error of random rotations, more templates a smaller one."""

from __future__ import annotations

import pytest
import torch

from refkp.geometry.icosphere import cam_from_obj, icosphere_views
from refkp.geometry.sphere import random_rotation
from refkp.systems.pose.metrics.baselines import random_template_errors


def truth(count: int) -> torch.Tensor:
    poses = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
    poses[:, :3, :3] = random_rotation(count, generator=torch.Generator().manual_seed(0))
    return poses


def test_more_templates_are_nearer() -> None:
    templates = cam_from_obj(icosphere_views(1) * 500)
    medians = [
        random_template_errors(truth(2000), templates, count, torch.Generator().manual_seed(1)).median()
        for count in (1, 4, 162)
    ]
    # Angles of random rotations have the density (1 - cos a) / pi, whose median solves a - sin a = pi / 2.
    assert medians[0].item() == pytest.approx(132.3, abs=4.0)
    assert medians[0] > medians[1] > medians[2]


def test_all_templates_contain_the_truth() -> None:
    poses = truth(6)
    errors = random_template_errors(poses, poses, 6, torch.Generator().manual_seed(0))
    torch.testing.assert_close(errors, torch.zeros(6, dtype=torch.float64), atol=1e-5, rtol=0)


@pytest.mark.parametrize("count", [0, 7])
def test_counts(count: int) -> None:
    with pytest.raises(ValueError, match=r"`count` must be in 1\.\.6"):
        random_template_errors(truth(2), truth(6), count, torch.Generator())
