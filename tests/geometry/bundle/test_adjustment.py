"""Bundle adjustment: a rig that is off comes back, and what is fixed stays fixed."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest
import torch

from refkp.geometry.bundle import BundleSpec, adjust
from refkp.geometry.bundle.derivative import Views, linearise, reduce_to_cameras, robust_cost
from refkp.geometry.bundle.problem import CAMERA_SIZE, free_directions, move_rig
from refkp.geometry.rig import Rig
from refkp.geometry.rotations import axis_angle_to_matrix, rotation_angle_between
from tests.support.rigs import detections, ring_rig, scattered_points


def disturbed(rig: Rig, degrees: float, distance: float, seed: int) -> Rig:
    """The rig with every camera but the first off by this much, and the baseline as long as it was."""
    generator = torch.Generator().manual_seed(seed)
    turn, shift = torch.nn.functional.normalize(
        torch.randn(2, len(rig.K), 3, generator=generator, dtype=torch.float64), dim=-1
    )
    R = axis_angle_to_matrix(turn * torch.pi / 180 * degrees) @ rig.R
    centres = rig.centres() + distance * shift
    R[0], centres[0] = rig.R[0], rig.centres()[0]
    baseline = (rig.centres()[1] - centres[0]).norm()
    centres[1] = centres[0] + baseline * torch.nn.functional.normalize(centres[1] - centres[0], dim=0)
    return Rig(rig.K, rig.distortion, R, -(R @ centres[..., None])[..., 0])


def test_a_rig_that_starts_two_degrees_and_ten_millimetres_off_comes_back() -> None:
    rig, points = ring_rig(6), scattered_points(4000)
    uv, _ = detections(rig, points, noise_px=0.5, missing=0.3, wrong=0.05)
    start = disturbed(rig, 2.0, 10.0, seed=1)
    got = adjust(uv, start)
    assert float(torch.rad2deg(rotation_angle_between(got.rig.R, rig.R)).max()) < 0.05
    off = got.rig.centres() - rig.centres()
    assert float(off.norm(dim=-1).max()) < 0.5
    assert float(got.residual_px.nanmedian()) < 0.1 * float(got.residual_before_px.nanmedian())
    assert got.num_observations == int(got.inliers.sum())
    assert torch.equal(got.rig.R[0], rig.R[0])
    torch.testing.assert_close(got.rig.t[0], rig.t[0])
    torch.testing.assert_close(
        (off[1] + rig.centres()[1] - rig.centres()[0]).norm(), (rig.centres()[1] - rig.centres()[0]).norm()
    )
    torch.testing.assert_close(got.rig.K, rig.K)
    assert torch.equal(got.rig.distortion, rig.distortion)
    spread = got.covariance.diagonal().reshape(6, CAMERA_SIZE)
    assert bool((spread[0] == 0).all() & (spread[:, 6:] == 0).all())
    pulls = off[2:] / spread[2:, 3:6].sqrt()
    assert 0.3 < float(pulls.square().mean().sqrt()) < 2.0


@pytest.mark.parametrize("sharing", ["shared", "free"])
def test_focal_lengths_and_k1_are_found(sharing: str) -> None:
    rig, points = ring_rig(5), scattered_points(3000, size=400.0)
    uv, _ = detections(rig, points, noise_px=0.3)
    factor = (
        torch.tensor([1.02, 1.0, 0.97, 1.01, 1.03]).double()
        if sharing == "free"
        else torch.full((5,), 1.02).double()
    )
    start = disturbed(rig, 0.5, 3.0, seed=2)
    K, distortion = start.K.clone(), start.distortion.clone()
    K[:, :2, :2] *= factor[:, None, None]
    distortion[:, 0] += 0.02
    got = adjust(
        uv, start._replace(K=K, distortion=distortion), spec=BundleSpec(focal=sharing, radial=sharing)
    )
    assert float((got.rig.K[:, 0, 0] / 1000 - 1).abs().max()) < 0.003
    assert float((got.rig.distortion[:, 0] - rig.distortion[:, 0]).abs().max()) < 0.005
    ratio = got.rig.K[:, 1, 1] / got.rig.K[:, 0, 0]
    torch.testing.assert_close(ratio, torch.full_like(ratio, 1.01))


def test_the_derivatives_are_those_of_autograd() -> None:
    rig, points = ring_rig(3), scattered_points(4)
    views = Views(rig.project(points).uv + 1.0, torch.ones(4, 3).double())
    at = linearise(rig, points, views, 1e9)  # no robustness

    def pixels(step: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        # Without the retraction of the baseline, which is of second order for free directions alone.
        R = axis_angle_to_matrix(step[:, :3]) @ rig.R
        factor = torch.ones_like(rig.K)
        factor = torch.cat(
            (
                torch.cat((factor[:, :2, :2] * step[:, 6].exp()[:, None, None], factor[:, :2, 2:]), -1),
                factor[:, 2:],
            ),
            1,
        )
        distortion = torch.cat((rig.distortion[:, :1] + step[:, 7:], rig.distortion[:, 1:]), -1)
        t = -(R @ (rig.centres() + step[:, 3:6])[..., None])[..., 0]
        return Rig(rig.K * factor, distortion, R, t).project(points + shift).uv

    zero, still = torch.zeros(3, CAMERA_SIZE).double(), torch.zeros(4, 3).double()
    by_camera, by_point = torch.autograd.functional.jacobian(pixels, (zero, still))
    for view in range(3):
        torch.testing.assert_close(at.by_camera[view], by_camera[:, view, :, view], atol=1e-6, rtol=1e-6)
        for point in range(4):
            torch.testing.assert_close(
                at.by_point[view, point], by_point[point, view, :, point], atol=1e-6, rtol=1e-6
            )


def test_the_points_are_eliminated_exactly() -> None:
    rig, points = ring_rig(3), scattered_points(5)
    views = Views(
        rig.project(points).uv
        + torch.randn(5, 3, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64),
        torch.ones(5, 3).double(),
    )
    at = linearise(rig, points, views, 2.0)
    cameras = torch.zeros(3, 5, 2, 3, CAMERA_SIZE, dtype=torch.float64)
    shifts = torch.zeros(3, 5, 2, 5, 3, dtype=torch.float64)
    for view in range(3):
        cameras[view, :, :, view] = at.by_camera[view]
        for point in range(5):
            shifts[view, point, :, point] = at.by_point[view, point]
    J = torch.cat((cameras.flatten(3), shifts.flatten(3)), -1).flatten(0, 2)
    normal, gradient = J.mT @ J, J.mT @ at.residual.flatten()
    normal = normal + 0.01 * torch.diag(normal.diagonal())
    free = free_directions(rig, BundleSpec())
    basis = torch.block_diag(free, torch.eye(15).double())
    want = -basis @ torch.linalg.solve(basis.mT @ normal @ basis, basis.mT @ gradient)
    system, back, own = reduce_to_cameras(rig, points, views, 2.0, 0.01)
    step = -free @ torch.linalg.solve(free.mT @ system.matrix @ free, free.mT @ system.gradient)
    torch.testing.assert_close(step, want[: 3 * CAMERA_SIZE])
    torch.testing.assert_close((-own - back @ step).flatten(), want[3 * CAMERA_SIZE :])
    torch.testing.assert_close(system.cost, robust_cost(rig, points, views, 2.0))


def test_a_step_keeps_the_first_camera_and_the_baseline() -> None:
    rig = ring_rig(4)
    free = free_directions(rig, BundleSpec(focal="shared", radial="free"))
    assert free.shape == (4 * CAMERA_SIZE, 3 * 3 + 2 * 3 + 2 + 1 + 4)
    step = (free @ torch.linspace(-1, 1, free.shape[1]).double()).unflatten(0, (4, CAMERA_SIZE))
    moved = move_rig(rig, step)
    torch.testing.assert_close(moved.R[0], rig.R[0])
    torch.testing.assert_close(moved.centres()[0], rig.centres()[0])
    lengths = [(one.centres()[1] - one.centres()[0]).norm() for one in (moved, rig)]
    torch.testing.assert_close(*lengths)
    torch.testing.assert_close(moved.K[:, 0, 0] / rig.K[:, 0, 0], moved.K[0, 0, 0].expand(4) / 1000)


def test_errors() -> None:
    rig = ring_rig(3)
    uv = rig.project(scattered_points(100)).uv
    with pytest.raises(ValueError, match="adjust: `uv` must be at least 24 observations that agree"):
        adjust(uv[:3], rig)
    with pytest.raises(ValueError, match="adjust: `rig` must be of at least 2 cameras; got 1"):
        adjust(uv[:, :1], rig.select([0]))
    with pytest.raises(ValueError, match="with its first two cameras apart"):
        adjust(uv, rig.select([0, 0, 1]))
    with pytest.raises(ValueError, match="BundleSpec: `focal` must be one of 'fixed', 'shared', 'free'"):
        BundleSpec(focal="some")
    with pytest.raises(ValueError, match="BundleSpec: `rounds` must be above 0"):
        BundleSpec(rounds=0)


def test_a_focal_length_that_nothing_tells_stays_near_where_it_was() -> None:
    rig, points = ring_rig(4), scattered_points(200, size=10.0)
    uv, _ = detections(rig, points, noise_px=1.0)
    tight, loose = (adjust(uv, rig, spec=BundleSpec(focal="free", focal_deviation=d)) for d in (0.01, 10.0))
    off = [float((found.rig.K[:, 0, 0] / 1000).log().abs().max()) for found in (tight, loose)]
    assert off[0] < 0.02
    assert off[0] < off[1]


@pytest.mark.realdata
def test_a_real_session_is_calibrated_from_the_animal() -> None:
    rig, uv = real_session()
    got = adjust(uv, rig, spec=BundleSpec(focal="free"))
    assert float(got.residual_before_px[got.residual_before_px.isfinite()].mean()) > 7.0
    assert float(got.residual_px[got.residual_px.isfinite()].mean()) < 4.5
    assert int(got.residual_px.isfinite().sum()) == 6576
    assert float((got.rig.K[:, 0, 0] / rig.K[:, 0, 0]).log().abs().max()) < 0.25


def real_session() -> tuple[Rig, torch.Tensor]:
    """Cameras and detections [1800,4,2] of the real session, in edge pixels."""
    h5py = pytest.importorskip("h5py")
    folder = Path(os.environ.get("REFKP_DATA", "")) / "multiview"
    calibration = folder / "derived" / "calibration_recovered.toml"
    if not calibration.exists():
        pytest.skip("needs the real data under $REFKP_DATA")
    cameras = [c for key, c in tomllib.loads(calibration.read_text()).items() if key.startswith("cam")]
    table = {
        key: torch.tensor([c[key] for c in cameras], dtype=torch.float64)
        for key in ("matrix", "distortions", "rotation", "translation")
    }
    table["matrix"][:, :2, 2] += 0.5
    seen = []
    for camera in cameras:
        view = folder / "minimal_session" / camera["name"]
        with h5py.File(view / f"minimal_{camera['name']}_proofread.analysis.h5") as file:
            seen.append(torch.tensor(file["tracks"][0]).permute(2, 1, 0).reshape(-1, 2) + 0.5)
    R = axis_angle_to_matrix(table["rotation"])
    return Rig(table["matrix"], table["distortions"], R, table["translation"]), torch.stack(seen, dim=1)
