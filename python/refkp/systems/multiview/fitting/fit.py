"""From a recording to a posed body in every frame."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from refkp._checks import fail
from refkp.systems.multiview.body.model import Body
from refkp.systems.multiview.body.motion import BodyMotion
from refkp.systems.multiview.body.posing import JointsOnly
from refkp.systems.multiview.calibration import Calibration
from refkp.systems.multiview.fitting.initialisation import initial_variables
from refkp.systems.multiview.fitting.problem import LEAST_NOISE_PX, Problem, noise_of
from refkp.systems.multiview.fitting.solver import Solved, minimise
from refkp.systems.multiview.fitting.spec import FitSpec
from refkp.systems.multiview.fitting.variables import Variables
from refkp.systems.multiview.reconstruction import Reconstruction, reconstruct
from refkp.systems.multiview.session import Recording

#: Frames that are solved together, and how many of the earlier ones a later part begins with.
_TOGETHER, _OVERLAP = 600, 30
#: Frames of the runs from all over a long recording that tell the shape.
_RUN = 40


class BodyFit(NamedTuple):
    """A body fitted to a recording, V views with a camera."""

    motion: BodyMotion  # float64
    calibration: Calibration  # of the views
    uv: Tensor  # float64 [F,V,J,2], labels of the body's joints in pixels; NaN where missing
    joints: Tensor  # float64 [F,J,3]
    residual_px: Tensor  # float64 [F,V,J] of the fitted joints; NaN where not labelled
    noise_px: float  # that labels were believed to have


@torch.no_grad()
def fit_body(
    recording: Recording,
    body: Body,
    joint_map: Tensor,
    *,
    track: str | None = None,
    spec: FitSpec = FitSpec(),  # noqa: B008 (frozen)
) -> BodyFit:
    """Pose, shape and bone lengths of one animal by the labels of all views over time.

    Args:
        recording: with cameras of at least two views; views without one are left out.
        body: what is posed.
        joint_map: int64 [J], which joint of the recording each joint of the body is; -1: none.
        track: which animal, where there are several.
        spec: what is believed before.

    Raises:
        ValueError: fewer than two cameras, several animals and no choice, or no frame with three joints.
    """
    found = reconstruct(recording, track, over_time=True)
    problem, start, uv = _begun(recording.name, found, body, joint_map, spec)
    variables, noise = _in_parts(problem, start)
    joints = problem.joints
    world = joints(variables.pose(joints))
    projected = problem.rig.project(world).uv.permute(0, 2, 1, 3)
    residual = torch.linalg.vector_norm(projected - uv, dim=-1)
    motion = BodyMotion(
        torch.from_numpy(np.asarray(found.seen.frames)),
        variables.rotations,
        variables.trans,
        variables.betas,
        variables.offsets(joints.body, joints.rest(variables.betas[None], 1)[0]),
        variables.log_size.exp(),
    )
    return BodyFit(motion, found.calibration, uv, world, residual, noise)


def _begun(
    name: str, found: Reconstruction, body: Body, joint_map: Tensor, spec: FitSpec
) -> tuple[Problem, Variables, Tensor]:
    """What is solved, where it begins, and the labels [F,V,J,2] of the body's joints."""
    joints = JointsOnly(body.to(dtype=torch.float64))
    points = mapped(torch.from_numpy(found.points), joint_map)
    uv = mapped(torch.from_numpy(found.seen.xy), joint_map)
    start = initial_variables(points, joints)
    if start is None:
        rule = "with three joints of the body in space in at least one frame"
        fail(
            "fit_body",
            name,
            rule,
            "none",
            "Look at `refkp multiview triangulate` and at the joint table.",
        )
    seen = torch.isfinite(uv).all(-1)
    rig = found.calibration.rig.to(torch.float64)
    length = float(start.log_size.exp()) * body.length
    problem = Problem(
        joints,
        rig,
        torch.where(seen[..., None], uv, 0.0),
        seen.double(),
        LEAST_NOISE_PX,
        float(start.log_size),
        length,
        spec,
    )
    return problem._replace(noise_px=spec.noise_px or noise_of(problem, start)), start, uv


def labelled_points(found: BodyFit, joint_map: Tensor, num_joints: int) -> tuple[np.ndarray, int]:
    """The joints of a fitted body as points of the recording's joints.

    Args:
        found: the fit.
        joint_map: int64 [J], of the fit.
        num_joints: K, of the recording.

    Returns:
        float64 [F',K,3] of all frames from the first to the last, NaN where nothing was fitted; the first frame.
    """
    frames = found.motion.frames.numpy()
    points = np.full((frames[-1] - frames[0] + 1, num_joints, 3), np.nan)
    known = (joint_map >= 0).numpy()
    points[(frames - frames[0])[:, None], joint_map.numpy()[known]] = found.joints.numpy()[:, known]
    return points, int(frames[0])


def mapped(values: Tensor, joint_map: Tensor) -> Tensor:
    """Values [...,K,D] of labels as those of the body's joints, NaN where none stands for it."""
    chosen = values[..., joint_map.clamp(min=0), :]
    return torch.where((joint_map >= 0)[:, None], chosen, torch.nan)


def _in_parts(problem: Problem, start: Variables) -> Solved:
    """Solve all frames at once, or a long recording part by part with the shape that frames from all over it tell."""
    count = len(start.trans)
    if count <= _TOGETHER:
        return minimise(problem, start)
    middle = _part(problem, start, _shape_rows(count))
    shaped, noise = minimise(*middle)
    done = start._replace(log_size=shaped.log_size, betas=shaped.betas, log_lengths=shaped.log_lengths)
    rotations, trans = [], []
    for first in range(0, count, _TOGETHER - _OVERLAP):
        rows = torch.arange(first, min(first + _TOGETHER, count))
        found, _ = minimise(*_part(problem, done, rows), fixed_shape=True)
        kept = slice(_OVERLAP // 2 if first else 0, None)
        rotations.append(found.rotations[kept])
        trans.append(found.trans[kept])
        if rows[-1] == count - 1:
            break
    for number in range(len(rotations) - 1):
        rotations[number] = rotations[number][: -_OVERLAP // 2]
        trans[number] = trans[number][: -_OVERLAP // 2]
    return Solved(done._replace(rotations=torch.cat(rotations), trans=torch.cat(trans)), noise)


def _shape_rows(count: int) -> Tensor:
    """Runs of frames from all over a recording."""
    starts = torch.linspace(0, count - _RUN, max(1, _TOGETHER // _RUN)).long()
    return torch.cat([torch.arange(first, first + _RUN) for first in starts.tolist()]).unique()


def _part(problem: Problem, variables: Variables, rows: Tensor) -> tuple[Problem, Variables]:
    """The same for some of the frames."""
    part = problem._replace(uv=problem.uv[rows], seen=problem.seen[rows])
    return part, variables._replace(rotations=variables.rotations[rows], trans=variables.trans[rows])
