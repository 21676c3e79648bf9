"""MSSD and MSPD against plain loops, their laws, and bounded memory."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

pytest.importorskip("hypothesis", reason="needs the extra `dev`")

from hypothesis import given, settings
from hypothesis import strategies as st

from refkp.geometry.sphere import random_rotation
from refkp.systems.pose.metrics import errors
from refkp.systems.pose.metrics.errors import mspd, mssd
from refkp.systems.pose.symmetry import symmetry_transforms

K = torch.tensor([[600.0, 0, 320], [0, 610, 240], [0, 0, 1]], dtype=torch.float64)


def poses(count: int, seed: int, distance: float = 700.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    pose = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
    pose[:, :3, :3] = random_rotation(count, generator=generator)
    pose[:, :3, 3] = torch.randn(count, 3, dtype=torch.float64, generator=generator) * 20
    pose[:, 2, 3] += distance
    return pose


def points(count: int = 40) -> Tensor:
    return 50 * torch.randn(count, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(9))


def transform(pose: Tensor, x: Tensor) -> Tensor:
    return x @ pose[:3, :3].T + pose[:3, 3]


def pixels(pose: Tensor, x: Tensor) -> Tensor:
    seen = transform(pose, x) @ K.T
    return seen[:, :2] / seen[:, 2:]


def looped(estimate: Tensor, truth: Tensor, symmetries: Tensor, image: bool) -> Tensor:
    show = pixels if image else transform
    rows = []
    for e, g in zip(estimate, truth, strict=True):
        far = [(show(e, points()) - show(g @ s, points())).norm(dim=1).max() for s in symmetries]
        rows.append(torch.stack(far).min())
    return torch.stack(rows)


@pytest.mark.parametrize("held", [1, 90, 10**6])
def test_agreement_with_loops_whatever_the_blocks(held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "_POINTS_AT_ONCE", held)
    estimate, truth, symmetries = poses(5, 0), poses(5, 1), poses(7, 2, 0.0)
    torch.testing.assert_close(
        mssd(estimate, truth, points(), symmetries), looped(estimate, truth, symmetries, image=False)
    )
    torch.testing.assert_close(
        mspd(estimate, truth, K, points(), symmetries), looped(estimate, truth, symmetries, image=True)
    )


def test_no_poses_no_errors() -> None:
    none = torch.zeros(0, 4, 4, dtype=torch.float64)
    assert mssd(none, none, points(), symmetry_transforms()).shape == (0,)
    assert mspd(none, none, K, points(), symmetry_transforms()).shape == (0,)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_laws(seed: int) -> None:
    """Zero at the truth and at every symmetric pose; MSSD is symmetric and blind to the camera's frame."""
    truth, other, alike = poses(2, seed), poses(2, seed + 1), poses(3, seed + 2, 0.0)
    x, identity = points(), symmetry_transforms()
    alike = torch.cat((identity, alike))
    assert mssd(truth @ alike[2], truth, x, alike).max() < 1e-9
    assert mspd(truth @ alike[2], truth, K, x, alike).max() < 1e-9
    torch.testing.assert_close(mssd(other, truth, x, identity), mssd(truth, other, x, identity))
    moved = poses(1, seed + 3)[0]
    torch.testing.assert_close(mssd(moved @ other, moved @ truth, x, alike), mssd(other, truth, x, alike))
    assert (mssd(other, truth, x, alike) <= mssd(other, truth, x, identity) + 1e-9).all()


def test_a_pose_behind_the_camera_shows_nothing() -> None:
    behind = poses(1, 0, distance=-700.0)
    assert mspd(behind, poses(1, 0), K, points(), symmetry_transforms()).item() == float("inf")


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="mspd: `truth` must be"):
        mspd(poses(2, 0), poses(3, 0), K, points(), symmetry_transforms())
