"""`refkp multiview triangulate`: points in space from the labels of all views."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from refkp._files import write_json
from refkp.commands import add_out, output_folder, parsed, parser, table
from refkp.systems.multiview.commands.sessions import add_session, read_session, require_no_session

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from refkp.systems.multiview.inspection.errors import ViewErrors
    from refkp.systems.multiview.reconstruction import Reconstruction
    from refkp.systems.multiview.session import Recording

_COMMAND = "refkp multiview triangulate"
_EXAMPLE = f"refkp multiview generate --out session\n{_COMMAND} session --out space --smooth true"


def triangulate(argv: list[str]) -> int:
    """Triangulate an animal: points3d.h5 with covariances, reprojections.h5, the errors of every view, pictures."""
    options = parsed(_parser(), argv)
    require_no_session(_COMMAND, options.out)
    recording = read_session(options, options.session)

    from refkp.geometry.triangulation import TriangulationSpec
    from refkp.systems.multiview.inspection.errors import reprojection_errors
    from refkp.systems.multiview.inspection.files import video_facts
    from refkp.systems.multiview.inspection.refusal import require_sound_cameras
    from refkp.systems.multiview.reconstruction import reconstruct

    require_sound_cameras(_COMMAND, recording, video_facts(recording)[0])
    spec = TriangulationSpec(threshold_px=options.threshold_px, min_views=options.min_views)
    found = reconstruct(recording, options.track, spec=spec, over_time=options.smooth)
    rig = found.calibration.rig
    errors = reprojection_errors(found.calibration.names, found.seen, found.points, rig)
    print(_told(recording, found))
    print(table(["view", "points", "mean px", "median px", "95 %", "mean without distortion"], errors))
    with output_folder(options.out) as folder:
        _write(folder, recording, found, errors)
        _draw(folder, recording, found)
    print(f"points3d.h5, reprojections.h5, summary.json and pictures in {options.out}")
    return 0


def _parser() -> ArgumentParser:
    command = parser(_COMMAND, triangulate.__doc__, example=_EXAMPLE)
    add_session(command)
    add_out(command, "points3d.h5, reprojections.h5, summary.json and pictures")
    command.add_argument(
        "--smooth", type=bool, default=False, help="smooth tracks over time, which fills gaps in"
    )
    text = "a label farther than this from where the other views put the point is an outlier"
    command.add_argument("--threshold_px", type=float, default=10.0, help=text)
    command.add_argument("--min_views", type=int, default=2, help="views that must agree on a point")
    return command


def _told(recording: Recording, found: Reconstruction) -> str:
    measured, there = found.measured, np.isfinite(found.points).all(-1)
    labelled = found.seen.visible
    outliers = labelled & ~found.inliers & measured[:, None]
    deviation = np.sqrt(np.trace(found.covariance, axis1=-2, axis2=-1)[measured])
    typical = f"{np.median(deviation):.3g}" if measured.any() else "none"
    return (
        f"{recording.name}: {int(measured.sum())} points of {measured.size} in {len(measured)} frames, "
        f"{int((there & ~measured).sum())} filled in, {int(outliers.sum())} of {int(labelled.sum())} labels are "
        f"outliers; median standard deviation of a point {typical} (in the unit of the cameras)"
    )


def _write(folder: Path, recording: Recording, found: Reconstruction, errors: list[ViewErrors]) -> None:
    import torch

    from refkp.systems.multiview.reading.points import write_points, write_projections

    names = found.calibration.names
    first = int(found.seen.frames[0])
    described = {
        "covariance": (found.covariance[:, None], "Of the points as measured, [frame, animal, joint, 3, 3]."),
        "measured": (found.measured[:, None], "Views agree on the point; others were filled in over time."),
        "inliers": (found.inliers[:, None], "Labels that a point stands on, [frame, animal, view, joint]."),
        "residual_px": (found.residual_px[:, None], "From label to point as measured, [frame, animal, view, joint]."),
        "view_names": (np.array(names, dtype="S"), "Views of the data sets with an axis for them."),
        "joint_names": (np.array(recording.joints, dtype="S"), "Joints."),
    }  # fmt: skip
    write_points(folder / "points3d.h5", found.points[:, None], first, described)
    ideal = found.calibration.rig.pinholes().project(torch.from_numpy(found.points))
    uv = ideal.uv.where(ideal.valid[..., None], torch.nan).numpy()
    write_projections(folder / "reprojections.h5", {name: uv[:, None, :, v] for v, name in enumerate(names)})
    summary = {
        "session": recording.name,
        "first_frame": first,
        "num_frames": len(found.points),
        "num_points": int(found.measured.sum()),
        "num_filled_in": int((np.isfinite(found.points).all(-1) & ~found.measured).sum()),
        "views": [row._asdict() for row in errors],
    }
    write_json(folder / "summary.json", summary)


def _draw(folder: Path, recording: Recording, found: Reconstruction) -> None:
    from refkp.systems.multiview.pictures.sessions import space_figures
    from refkp.viz.figures import write_figure

    for name, figure in space_figures(recording, found.seen, found.points, found.calibration).items():
        write_figure(figure, folder / f"{name}.png")
