"""`refkp multiview calibrate`: better cameras from the animal itself."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from refkp._files import write_json
from refkp.commands import add_out, output_folder, parsed, parser, require_counts, table
from refkp.systems.multiview.commands.sessions import add_session, read_session

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser
    from torch import Tensor

    from refkp.systems.multiview.reconstruction import Refinement

#: No camera of a rig turns so far between its calibration and its use.
_FAR_DEG = 5.0

_COMMAND = "refkp multiview calibrate"
_EXAMPLE = f"refkp multiview generate --out session\n{_COMMAND} session --out refined --focal free"


def calibrate(argv: list[str]) -> int:
    """Refine the cameras of a session by bundle adjustment of its labels; the first camera and one distance stay."""
    options = parsed(_parser(), argv)
    require_counts(_COMMAND, options, "max_frames")
    recording = read_session(options, options.session)

    from refkp.geometry.bundle import BundleSpec
    from refkp.systems.multiview.calibration import write_calibration
    from refkp.systems.multiview.inspection.files import video_facts
    from refkp.systems.multiview.inspection.refusal import require_sound_cameras
    from refkp.systems.multiview.reconstruction import refine_cameras

    require_sound_cameras(_COMMAND, recording, video_facts(recording)[0])
    names = ("focal", "radial", "focal_deviation", "threshold_px")
    spec = BundleSpec(**{name: options[name] for name in names})
    found = refine_cameras(recording, options.track, spec=spec, max_frames=options.max_frames)
    rows = view_rows(found)
    before, after = (_mean(part) for part in (found.bundle.residual_before_px, found.bundle.residual_px))
    print(f"{recording.name}: {len(found.frames)} frames, {found.bundle.num_observations} labels; mean reprojection "
          f"of free points {before:.4g} px with the cameras given, {after:.4g} px with the refined")  # fmt: skip
    print(table([name.replace("_", " ") for name in rows[0]], [list(row.values()) for row in rows]))
    far = [str(row["view"]) for row in rows if row["turned_deg"] > _FAR_DEG]
    if far:
        warnings.warn(
            f"{', '.join(far)} turned by more than {_FAR_DEG:g} degrees. If these cameras came from a board, "
            "trust it more: joints that are labelled elsewhere in each view turn cameras.",
            stacklevel=1,
        )
    with output_folder(options.out) as folder:
        write_calibration(folder / "calibration_refined.toml", found.calibration)
        write_json(
            folder / "summary.json",
            {"session": recording.name, "num_frames": len(found.frames), "mean_px_before": before,
             "mean_px": after, "views": rows},
        )  # fmt: skip
    print(f"calibration_refined.toml and summary.json in {options.out}")
    return 0


def _parser() -> ArgumentParser:
    command = parser(_COMMAND, calibrate.__doc__, example=_EXAMPLE)
    add_session(command)
    add_out(command, "calibration_refined.toml and summary.json")
    command.add_argument("--max_frames", type=int, default=400, help="frames used, evenly taken")
    sharing, deviation = (
        ("fixed", "shared", "free"),
        "how far focal lengths may be off, a standard deviation, in shares",
    )
    command.add_argument(
        "--focal", choices=sharing, default="fixed", help="focal lengths: one factor for all, or each"
    )
    command.add_argument("--radial", choices=sharing, default="fixed", help="k1, likewise")
    command.add_argument("--focal_deviation", type=float, default=0.02, help=deviation)
    command.add_argument(
        "--threshold_px", type=float, default=20.0, help="labels farther off are outliers in the end"
    )
    return command


def view_rows(found: Refinement) -> list[dict[str, Any]]:
    """How each camera changed, and how sure that is (one standard deviation)."""
    import torch

    from refkp.geometry.bundle.problem import CAMERA_SIZE
    from refkp.geometry.rotations import rotation_angle_between

    before, after = found.before.rig.to(torch.float64), found.calibration.rig
    turned = torch.rad2deg(rotation_angle_between(before.R, after.R))
    moved = (after.centres() - before.centres()).norm(dim=-1)
    spread = found.bundle.covariance.diagonal().clamp_min(0).unflatten(0, (-1, CAMERA_SIZE))
    rows = []
    for view, name in enumerate(found.calibration.names):
        rows.append(
            {
                "view": name,
                "labels": int(found.bundle.inliers[:, view].sum()),
                "px_before": _mean(found.bundle.residual_before_px[:, view]),
                "px": _mean(found.bundle.residual_px[:, view]),
                "turned_deg": float(turned[view]),
                "sigma_deg": float(torch.rad2deg(spread[view, :3].sum().sqrt())),
                "moved": float(moved[view]),
                "sigma_moved": float(spread[view, 3:6].sum().sqrt()),
                "focal_percent": 100 * float(after.K[view, 0, 0] / before.K[view, 0, 0] - 1),
                "k1": float(after.distortion[view, 0]),
            }
        )
    return rows


def _mean(values: Tensor) -> float:
    return float(values.nanmean())
