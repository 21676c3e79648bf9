"""`refkp multiview fit`: a posed body from the labels of all views, without a network."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refkp._files import write_json
from refkp.commands import add_out, output_folder, parsed, parser, table
from refkp.systems.multiview.commands.sessions import add_session, read_session, require_no_session

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser
    from torch import Tensor

    from refkp.systems.multiview.body.model import Body
    from refkp.systems.multiview.fitting.fit import BodyFit
    from refkp.systems.multiview.session import Recording

_COMMAND = "refkp multiview fit"
_EXAMPLE = (
    f"refkp multiview generate --out session\n{_COMMAND} session --body quadruped --out fitted --held_out 0.1"
)


def fit(argv: list[str]) -> int:
    """Pose, shape and bone lengths of an animal over time: poses, points, glTF, BVH, angles, cameras, pictures."""
    options = parsed(_parser(), argv)
    require_no_session(_COMMAND, options.out)

    from refkp.systems.multiview.body.joint_table import joint_map, read_joint_table
    from refkp.systems.multiview.body.species import load_body
    from refkp.systems.multiview.fitting.fit import fit_body
    from refkp.systems.multiview.fitting.held_out import judge, without_some
    from refkp.systems.multiview.fitting.spec import FitSpec
    from refkp.systems.multiview.inspection.files import video_facts
    from refkp.systems.multiview.inspection.refusal import require_sound_cameras

    body = load_body(options.body)
    recording = read_session(options, options.session)
    require_sound_cameras(_COMMAND, recording, video_facts(recording)[0])
    names = None if options.joints is None else read_joint_table(options.joints)
    labels = joint_map(body.joint_names, recording.joints, names)
    spec = FitSpec(**{field.name: options[field.name] for field in fields(FitSpec)})
    seen = without_some(recording, options.held_out, options.seed)
    found = fit_body(seen, body, labels, track=options.track, spec=spec)
    print(_told(recording, found, body))
    print(table(["view", "labels", "mean px", "median px", "95 %"], _views(found)))
    judged = judge(recording, seen, found, labels, options.track) if options.held_out else []
    if judged:
        print(table(["labels left out", "number", "mean px", "median px", "missed"], judged))
    with output_folder(options.out) as folder:
        _write(folder, recording, found, body, labels, judged, options)
    files = (
        "poses, points3d.h5, motion.glb, motion.bvh, joint_angles.csv, cameras.json, summary.json, pictures"
    )
    print(f"{files} in {options.out}")
    return 0


def _parser() -> ArgumentParser:
    from refkp.systems.multiview.fitting.spec import FitSpec

    command = parser(_COMMAND, fit.__doc__, example=_EXAMPLE)
    add_session(command)
    add = command.add_argument
    add_out(command, "what is found")
    add("--body", required=True, help='"insect", "mouse", "quadruped", or a body file (see make-body)')
    add("--joints", type=Path, help="CSV with the columns model and data: which label is which joint")
    add("--unit", default="mm", choices=["mm", "cm", "m"], help="unit of the calibration")
    add("--fps", type=float, default=30.0, help="frames in a second, for the files of motion")
    left_out = "share of the labels that are left out, to tell how far the body lies from them"
    add("--held_out", type=float, default=0.0, help=left_out)
    add("--seed", type=int, default=0, help="of which labels are left out")
    command.add_class_arguments(FitSpec, nested_key=None, instantiate=False)
    return command


def _told(recording: Recording, found: BodyFit, body: Body) -> str:
    frames, joints = found.joints.shape[:2]
    length = float(found.motion.size) * body.length
    return (
        f"{recording.name}: {frames} frames, {joints} joints, labels believed to {found.noise_px:.2f} px; "
        f"the body is {length:.4g} long (in the unit of the cameras)"
    )


def _views(found: BodyFit) -> list[tuple[str, int, float, float, float]]:
    rows = []
    for name, residual in zip(found.calibration.names, found.residual_px.unbind(1), strict=True):
        known = residual[residual.isfinite()]
        if len(known):
            quantile = float(known.quantile(0.95))
            rows.append((name, len(known), float(known.mean()), float(known.median()), quantile))
    return rows


def _write(
    folder: Path,
    recording: Recording,
    found: BodyFit,
    body: Body,
    labels: Tensor,
    judged: list[Any],
    options: Any,
) -> None:
    from refkp.systems.multiview.export import Clip, export
    from refkp.systems.multiview.fitting.fit import labelled_points
    from refkp.systems.multiview.pictures.bodies import fit_figures
    from refkp.systems.multiview.reading.points import write_points
    from refkp.viz.figures import write_figure

    clip = Clip(body, found.motion, options.fps, Path(options.body).stem, options.unit)
    export(folder, clip, calibration=found.calibration)
    points, first = labelled_points(found, labels, len(recording.joints))
    write_points(folder / "points3d.h5", points[:, None], first)
    summary = {
        "session": recording.name,
        "body": options.body,
        "num_frames": len(found.motion.frames),
        "noise_px": found.noise_px,
        "size": float(found.motion.size),
        "betas": found.motion.betas.tolist(),
        "views": _views(found),
        "held_out": [row._asdict() for row in judged],
    }
    write_json(folder / "summary.json", summary)
    for name, figure in fit_figures(recording, found, body, options.track).items():
        write_figure(figure, folder / f"{name}.png")
