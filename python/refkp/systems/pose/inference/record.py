"""A pose with its evidence on paper: as text, and as values for JSON."""

from __future__ import annotations

from typing import Any

from refkp.systems.pose.inference.confidence import RIGHT_DEG
from refkp.systems.pose.inference.estimator import PoseEstimate
from refkp.systems.pose.inference.failure import EstimateFailure

#: Rows and columns of the covariance: a true pose is exp([r]x) R, t + dt, in the axes of the camera, with dt in
#: millimetres and the rotation vector r in radians.
COVARIANCE_ORDER = ("t_x_mm", "t_y_mm", "t_z_mm", "r_x_rad", "r_y_rad", "r_z_rad")


def pose_text(found: PoseEstimate | EstimateFailure) -> str:
    """A pose, or why there is none, as text."""
    if isinstance(found, EstimateFailure):
        return f"no pose ({found.reason}): {found.message}"
    pose = found.cam_from_obj
    rows = ["  ".join(f"{float(value):9.6f}" for value in row[:3]) for row in pose[:3]]
    spread = found.uncertainty
    return "\n".join(
        [
            "object to camera (x right, y down, z forward):",
            *(f"{'R =' if number == 0 else '   '} {row}" for number, row in enumerate(rows)),
            "t =  " + "  ".join(f"{float(value):.3f}" for value in pose[:3, 3]) + "  mm",
            f"confidence {found.confidence:.3f} that the rotation is right to {RIGHT_DEG:g} degrees",
            f"score {found.score:.3f}: {found.num_inliers} of {found.num_matches} matches agree, "
            f"median error {found.median_px:.2f} px of the crop; {found.num_dropped} had no 3D point",
            f"1 sigma: {spread.sigma_deg:.3g} deg, {spread.sigma_mm:.3g} mm",
            f"template {found.template_index}, {found.seconds:.2f} s",
        ]
    )


def pose_record(found: PoseEstimate | EstimateFailure) -> dict[str, Any]:
    """A pose or its failure, ready for JSON; names and units of rotation and translation as in BOP files."""
    if isinstance(found, EstimateFailure):
        return {"failure": found.reason, "message": found.message}
    spread = found.uncertainty
    return {
        "cam_R_m2c": found.cam_from_obj[:3, :3].flatten().tolist(),
        "cam_t_m2c": found.cam_from_obj[:3, 3].tolist(),
        "confidence": found.confidence,
        "score": found.score,
        "num_inliers": found.num_inliers,
        "num_matches": found.num_matches,
        "num_dropped": found.num_dropped,
        "median_px": found.median_px,
        "sigma_deg": spread.sigma_deg,
        "sigma_mm": spread.sigma_mm,
        "covariance": found.covariance.tolist(),
        "covariance_order": list(COVARIANCE_ORDER),
        "template": found.template_index,
        "seconds": found.seconds,
    }
