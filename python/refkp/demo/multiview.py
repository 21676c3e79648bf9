"""The multi-view page: a made-up session, what is wrong with it, its animal in space, a body fitted to it, its cameras
calibrated anew.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from refkp._files import whole_folder
from refkp.geometry.rig import Rig
from refkp.geometry.rotations import axis_angle_to_matrix, rotation_angle_between
from refkp.geometry.triangulation import triangulate_dlt
from refkp.systems.multiview.body.joint_table import joint_map
from refkp.systems.multiview.data.generator import MadeUpSession, make_session, write_session
from refkp.systems.multiview.data.spec import SessionSpec
from refkp.systems.multiview.fitting.fit import BodyFit, fit_body
from refkp.systems.multiview.inspection import inspect_recording
from refkp.systems.multiview.pictures.bodies import fit_figures
from refkp.systems.multiview.pictures.sessions import inspection_figures
from refkp.systems.multiview.reading import read_recording
from refkp.systems.multiview.reconstruction import Refinement, reconstruct, refine_cameras
from refkp.systems.multiview.session import Recording
from refkp.viz.report import Report

_SPEC = SessionSpec(num_frames=90, num_views=4, size=(360, 480), noise_px=0.5, missing=0.2, outliers=0.05)
_LATE_VIEW = 2

#: How far the cameras that calibration starts from are off.
_TURNED_DEG, _MOVED_MM = 2.0, 10.0


def session_page(report: Report, folder: Path, spec: SessionSpec = _SPEC) -> None:
    """Write a session into `folder`, one camera of which starts a frame late, and tell what the tools make of it."""
    session = make_session(spec)
    _write(folder / "late", _with_a_late_view(session), spec)
    report.section("A recording of four cameras")
    found = inspect_recording(read_recording(folder / "late"))
    report.text(
        f"An animal walks before {spec.num_views} cameras; a fifth of its labels are missing and "
        f"{spec.outliers:.0%} are somewhere else. The stream of cam{_LATE_VIEW} starts one frame late. "
        "What `refkp multiview inspect` finds:"
    )
    for finding in found.findings:
        report.text(str(finding))
    _write(folder / "session", session, spec)
    recording = read_recording(folder / "session")
    figures = inspection_figures(inspect_recording(recording))
    report.figure(
        figures["views"], "the same recording in step: labels (circles) and reprojections (crosses)"
    )
    report.figure(figures["errors"], "median distance of labels and reprojections, pixels")
    report.figure(figures["space"], "the animal in space, the later the brighter, and the cameras")
    report.text("Distances of the triangulated joints from where they were, as a share of the body's length:")
    fitted = _fitted(recording, session)
    report.table(["method", "joints found", "mean", "95 %"], _space_rows(recording, session, spec, fitted))
    report.text("The body that was fitted to the labels of all views over time (`refkp multiview fit`):")
    figures = fit_figures(recording, fitted, session.body)
    report.figure(
        figures["body"], "its mesh over the views of an instant, labels (circles), joints (crosses)"
    )
    report.figure(figures["turntable"], "the same instant from all around")
    report.text(
        f"All cameras but the first turned by {_TURNED_DEG:g} degrees and moved by {_MOVED_MM:g} mm, "
        "then calibrated from the animal alone (`refkp multiview calibrate`):"
    )
    report.table(
        ["cameras", "turned, degrees", "moved, mm", "median reprojection, px"],
        _camera_rows(recording, session),
    )


def _write(folder: Path, session: MadeUpSession, spec: SessionSpec) -> None:
    with whole_folder(folder) as unfinished:
        write_session(unfinished, session, spec)


def _with_a_late_view(session: MadeUpSession) -> MadeUpSession:
    labels = session.labels.copy()
    labels[1:, _LATE_VIEW], labels[0, _LATE_VIEW] = session.labels[:-1, _LATE_VIEW], np.nan
    return session._replace(labels=labels)


def _fitted(recording: Recording, session: MadeUpSession) -> BodyFit:
    return fit_body(recording, session.body, joint_map(session.body.joint_names, recording.joints))


def _space_rows(
    recording: Recording, session: MadeUpSession, spec: SessionSpec, fitted: BodyFit
) -> list[list[str]]:
    ours, smoothed = reconstruct(recording), reconstruct(recording, over_time=True)
    rig = ours.calibration.rig
    seen = rig.undistort(torch.from_numpy(ours.seen.xy).transpose(1, 2))
    linear = triangulate_dlt(seen.points, rig.projection_matrices())
    rows = []
    for name, points in (
        ("all labels, linearly", linear.points.numpy()),
        ("views that agree", ours.points),
        ("and smoothed over time", smoothed.points),
        ("a body, over time", fitted.joints.numpy()),
    ):
        off = np.linalg.norm(points - session.points[ours.seen.frames], axis=-1) / spec.body_length
        known = off[np.isfinite(off)]
        rows.append(
            [name, f"{len(known) / off.size:.0%}", f"{known.mean():.2%}", f"{np.percentile(known, 95):.2%}"]
        )
    return rows


def _camera_rows(recording: Recording, session: MadeUpSession) -> list[list[str]]:
    true = session.calibration.rig
    start = session.calibration._replace(rig=_disturbed(true))
    found = refine_cameras(replace(recording, calibration=start))
    return [
        ["as given", *_off(true, start.rig), f"{_median(found, before=True):.2f}"],
        ["calibrated", *_off(true, found.calibration.rig), f"{_median(found, before=False):.2f}"],
    ]


def _disturbed(rig: Rig) -> Rig:
    """The rig with every camera but the first turned and moved; the first two stay as far apart."""
    rng = np.random.default_rng(0)
    axes = torch.from_numpy(rng.normal(size=(len(rig.K), 3)))
    axes = axes / axes.norm(dim=1, keepdim=True)
    R = axis_angle_to_matrix(np.radians(_TURNED_DEG) * axes) @ rig.R
    baseline = rig.centres()[1] - rig.centres()[0]
    across = torch.linalg.cross(axes, baseline.expand_as(axes))
    centres = rig.centres() + _MOVED_MM * across / across.norm(dim=1, keepdim=True)
    shortened = (centres[1] - rig.centres()[0]) * baseline.norm() / (centres[1] - rig.centres()[0]).norm()
    centres[1] = rig.centres()[0] + shortened
    R[0], centres[0] = rig.R[0], rig.centres()[0]
    return rig._replace(R=R, t=-(R @ centres[..., None])[..., 0])


def _off(true: Rig, rig: Rig) -> list[str]:
    turned = torch.rad2deg(rotation_angle_between(true.R, rig.R)).max()
    return [f"{float(turned):.3f}", f"{float((rig.centres() - true.centres()).norm(dim=1).max()):.3f}"]


def _median(found: Refinement, *, before: bool) -> float:
    return float((found.bundle.residual_before_px if before else found.bundle.residual_px).nanmedian())
