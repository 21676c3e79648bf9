"""What a fit minimises, and its curvature.

Labels count by Geman and McClure's cost of their distance in pixels; turns and movement go on as before, joints stay
about rest and within their limits, bones and shapes about those of the body, each by its standard deviation. The cost
is written once and differentiated automatically; the curvature is that of Gauss and Newton, with the derivative of the
joints in closed form and neighbouring frames coupled as if their turns were vectors.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from refkp.geometry.rig import Rig, sight
from refkp.geometry.rotations import matrix_to_axis_angle
from refkp.systems.multiview.body.posing import JointsOnly
from refkp.systems.multiview.fitting.derivative import JointDerivative, joint_derivative
from refkp.systems.multiview.fitting.spec import FitSpec
from refkp.systems.multiview.fitting.variables import Variables

#: A label this many standard deviations off counts half.
_ROBUST = 3.0
#: Standard deviation of the logarithm of a joint's turn beyond its limit, in degrees.
_LIMIT_DEG = 2.0
#: Labels are never believed to be better than this.
LEAST_NOISE_PX = 0.5
#: Of distances of normal points in the plane: median to standard deviation along an axis.
_MEDIAN_TO_SIGMA = 1 / math.sqrt(2 * math.log(2))


class Problem(NamedTuple):
    """One animal in F frames and V views; float64."""

    joints: JointsOnly
    rig: Rig
    uv: Tensor  # [F,V,J,2] pixels as seen, of the body's joints; 0 where the weight is
    seen: Tensor  # [F,V,J]; 0: not labelled
    noise_px: float
    log_size: float  # what the points in space say
    length: float  # of the body, in the world
    spec: FitSpec


class Curvature(NamedTuple):
    """Gauss-Newton blocks of the labels and of what holds for a frame alone."""

    frames: Tensor  # [F,P,P]
    between: Tensor  # [F,P,S]
    shared: Tensor  # [S,S]


def cost(problem: Problem, variables: Variables, widen: float) -> Tensor:
    """Minus the logarithm of the probability, up to a constant; labels count as if their noise was `widen` times."""
    spec, joints = problem.spec, problem.joints
    world = joints(variables.pose(joints))
    squares = _distances(problem, world)
    scale = (_ROBUST * widen * problem.noise_px) ** 2
    labels = (problem.seen * squares / (squares + scale)).sum() * scale / (2 * problem.noise_px**2)
    turns = matrix_to_axis_angle(variables.rotations[:-1].mT @ variables.rotations[1:])
    moves = variables.trans[1:] - variables.trans[:-1]
    smooth = (turns[1:] - turns[:-1]).square().sum() / (2 * math.radians(spec.turn_deg) ** 2)
    smooth = smooth + (moves[1:] - moves[:-1]).square().sum() / (2 * (spec.move * problem.length) ** 2)
    return labels + smooth + _prior(problem, variables)


@torch.no_grad()
def noise_of(problem: Problem, variables: Variables) -> float:
    """Standard deviation of labels along an axis, by the median of their distances from the joints, in pixels."""
    squares = _distances(problem, problem.joints(variables.pose(problem.joints)))[problem.seen > 0]
    return max(float(squares.median()) ** 0.5 * _MEDIAN_TO_SIGMA, LEAST_NOISE_PX)


def _prior(problem: Problem, variables: Variables) -> Tensor:
    spec, body = problem.spec, problem.joints.body
    angles = matrix_to_axis_angle(variables.rotations[:, 1:])
    prior = angles.square().sum() / (2 * math.radians(spec.pose_deg) ** 2)
    if body.limits is not None:
        squares, limits = angles.square().sum(-1), body.limits[1:].to(angles)
        beyond = squares > limits.square()
        excess = torch.where(beyond, torch.where(beyond, squares, 1.0).sqrt() - limits, 0.0)
        prior = prior + excess.square().sum() / (2 * math.radians(_LIMIT_DEG) ** 2)
    own = (variables.log_size - problem.log_size).square() / spec.size**2
    own = own + variables.log_lengths.square().sum() / spec.length**2 + variables.betas.square().sum()
    return prior + own / 2


def _distances(problem: Problem, world: Tensor) -> Tensor:
    """Squared distances [F,V,J] of joints from their labels in pixels; as far as a picture for joints behind."""
    projected = problem.rig.project(world)
    uv = projected.uv.permute(0, 2, 1, 3)
    valid = (problem.seen > 0) & projected.valid.transpose(1, 2)
    squares = (torch.where(valid[..., None], uv, problem.uv) - problem.uv).square().sum(-1)
    return torch.where(valid, squares, 1e6)


@torch.no_grad()
def curvature(problem: Problem, variables: Variables, widen: float) -> Curvature:
    """The blocks of a step."""
    spec, body = problem.spec, problem.joints.body
    found = joint_derivative(variables, problem.joints)
    weighted = _information(problem, found, widen)  # [F,J,3,3]
    by_frame, by_shared = (part.flatten(1, 2) for part in found[1:])  # [F,3J,P], [F,3J,S]
    pulled, pulled_shared = ((weighted @ part).flatten(1, 2) for part in found[1:])
    frames = by_frame.mT @ pulled
    per_turn = 1 / math.radians(spec.pose_deg) ** 2
    prior = torch.zeros_like(frames[:, 0])
    prior[:, 6:] = per_turn
    if body.limits is not None:
        angles = torch.linalg.vector_norm(matrix_to_axis_angle(variables.rotations[:, 1:]), dim=-1)
        beyond = (angles > body.limits[1:].to(angles)).to(angles)
        prior[:, 6:] += (beyond / math.radians(_LIMIT_DEG) ** 2).repeat_interleave(3, dim=1)
    shared = (by_shared.mT @ pulled_shared).sum(0)
    own = torch.ones(len(shared)).to(shared)
    own[0] = 1 / spec.size**2
    own[1 + len(variables.betas) :] = 1 / spec.length**2
    return Curvature(frames + prior.diag_embed(), by_frame.mT @ pulled_shared, shared + own.diag())


def coupling(problem: Problem, num_values: int) -> Tensor:
    """The stiffness [P,P] between neighbouring frames."""
    diagonal = torch.full((num_values,), 1 / math.radians(problem.spec.turn_deg) ** 2, dtype=torch.float64)
    diagonal[:3] = 1 / (problem.spec.move * problem.length) ** 2
    return diagonal.diag()


def _information(problem: Problem, found: JointDerivative, widen: float) -> Tensor:
    """What labels say of each joint: sum over views of w A^T A / noise^2, [F,J,3,3]."""
    frames, joints = found.joints.shape[:2]
    x, y, z = found.joints.flatten(0, 1).unbind(-1)
    seen = sight(problem.rig, x, y, z)
    by_camera = torch.stack([torch.stack(row, -1) for row in (seen.u_by_camera, seen.v_by_camera)], -2)
    by_world = by_camera @ problem.rig.R[:, None]  # [V,FJ,2,3]
    squares = _distances(problem, found.joints)
    scale = (_ROBUST * widen * problem.noise_px) ** 2
    weights = problem.seen * (scale / (squares + scale)).square() / problem.noise_px**2
    weights = torch.where(squares < 1e6, weights, 0.0).transpose(0, 1).flatten(1)  # [V,FJ]
    rows = torch.where(weights[..., None, None] > 0, by_world, 0.0)
    return (weights[..., None, None] * (rows.mT @ rows)).sum(0).unflatten(0, (frames, joints))
