"""`refkp multiview infer`: the poses that a trained run sees in the videos of a session."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from refkp._checks import fail
from refkp._files import write_json
from refkp.commands import add_out, output_folder, parsed, parser
from refkp.systems.multiview.commands.sessions import named_files

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from refkp.systems.multiview.calibration import Calibration
    from refkp.systems.multiview.training.runs import TrainedRun

_COMMAND = "refkp multiview infer"
_EXAMPLE = f"""\
{_COMMAND} --run RUN --session SESSION --out poses
{_COMMAND} --run RUN --video cam0=front.mp4 cam1=side.mp4 --out poses"""


def infer(argv: list[str]) -> int:
    """Pose the animal in synchronised videos: poses, glTF, BVH, angles, pictures. Labels are not looked at."""
    options = parsed(_parser(), argv)
    if (options.session is None) == (not options.video):
        fail(_COMMAND, "session, video", "one of them", "neither" if options.session is None else "both")

    from refkp.data.units import metres
    from refkp.systems.multiview.export import Clip, export
    from refkp.systems.multiview.inference.filming import Filming, instants
    from refkp.systems.multiview.inference.posing import pose_videos
    from refkp.systems.multiview.pictures.bodies import posed_figures
    from refkp.systems.multiview.reading.cameras import read_calibration
    from refkp.systems.multiview.training.runs import load_run
    from refkp.viz.figures import write_figure

    run = load_run(options.run)
    videos, cameras = _videos(run, options)
    views = list(videos)
    known = None if cameras is None else read_calibration(cameras).of(views)
    mode = _mode(run, known)
    filming = Filming(run.data["image_size"], run.data["crop"], run.data["undistorted"])
    shown = instants(
        videos, filming, calibration=known, metres=metres(options.unit), batch=options.batch_size
    )
    posed = pose_videos(run.model, shown, run.indices(views), smoothed=options.smooth)
    frames = len(posed.motion.frames)
    print(f"{frames} frames of {len(views)} views, {mode}")
    figures = posed_figures(run.model.body, posed.motion, posed.last, posed.cameras, views)
    with output_folder(options.out) as folder:
        clip = Clip(run.model.body, posed.motion, options.fps, "body", "m")
        export(folder, clip)
        write_json(folder / "summary.json", {"views": views, "num_frames": frames, "mode": mode})
        for name, figure in figures.items():
            write_figure(figure, folder / f"{name}.png")
    files = "poses, motion.glb, motion.bvh, joint_angles.csv, summary.json, pictures"
    print(f"{files} in {options.out}; lengths in metres")
    return 0


def _videos(run: TrainedRun, options: Any) -> tuple[dict[str, Path], Path | None]:
    """The videos by the run's cameras, in its order, and the file of the cameras to use."""
    if options.session is None:
        videos, cameras = named_files(_COMMAND, "video", options.video), options.calibration
        return {name: videos[name] for name in run.order(videos)}, cameras

    from refkp.systems.multiview.reading.layout import calibration_of, videos_of

    videos = videos_of(options.session, run.data["cameras"])
    if not videos:
        rule = f"a folder with videos of {', '.join(run.data['cameras'])}"
        fail(_COMMAND, "session", rule, str(options.session), "Or name them: --video.")
    own = calibration_of(options.session) if run.calibrated_share else None
    return videos, options.calibration or own


def _mode(run: TrainedRun, known: Calibration | None) -> str:
    """What is said of the mode; raises where the run was not trained for it."""
    if known is not None and not run.calibrated_share:
        remedy = "Leave --calibration out, or train with --model.calibrated_share above 0."
        fail(_COMMAND, "calibration", "left out for a run trained without cameras", str(known.file), remedy)
    if known is None and run.calibrated_share == 1:
        remedy = "Or train with --model.calibrated_share below 1."
        fail(_COMMAND, "calibration", "given to a run trained with cameras alone", "None", remedy)
    return (
        "cameras not known, in the frame of the first" if known is None else "cameras given, in their world"
    )


def _parser() -> ArgumentParser:
    command = parser(_COMMAND, infer.__doc__, example=_EXAMPLE)
    add = command.add_argument
    add("--run", type=Path, required=True, help="folder of a complete run, or a checkpoint")
    session = "folder of a session: its videos, and its cameras where the run was trained with cameras"
    add("--session", type=Path, help=session)
    add("--video", nargs="+", default=[], metavar="NAME=FILE", help="cameras of the run and their videos")
    add("--calibration", type=Path, help="other cameras, for a run that was trained with them")
    add("--unit", default="mm", choices=["mm", "cm", "m"], help="unit of the calibration")
    add("--fps", type=float, default=30.0, help="frames in a second, for the files of motion")
    add("--smooth", type=bool, default=True, help="smooth the motion over time")
    add("--batch_size", type=int, default=16, help="instants at a time")
    add_out(command, "what is found")
    return command
